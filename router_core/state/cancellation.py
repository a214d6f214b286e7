"""Cancel background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel_all(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended, with whatever outcome.

    One cancel is not enough: redis-py (8.1) swallows a cancel that meets the end of a blocking read, and the task goes
    on. Measured: one worker in four hung at its stop."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=0.05)
