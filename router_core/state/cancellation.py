"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel_all(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended, whatever they end with.

    Once is not enough: a cancel that meets the end of a blocking read is swallowed inside redis-py (8.1, measured: a
    worker in four hung at its stop), and the task then goes on as if nothing had been said.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.05)
