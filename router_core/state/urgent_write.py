"""Small writes that Redis takes also when its memory is full: what operators do, and workers report, must work then."""

from __future__ import annotations

from typing import Any

from openfall.router_core.state.redis_connection import RedisConnection


async def urgent_command(link: RedisConnection, *args: Any) -> Any:
    """Run one plain command that writes little. Its reply. Raises `StoreError`."""
    return await link.script("urgent_write", {"command": args[0]}, *args[1:])
