"""The switch that keeps every job of the fleet in the local pools."""

from __future__ import annotations

from openfall.producers.operations.operator import Operator
from openfall.router_core.state import operator_switches


async def set_local_only(operator: Operator, on: bool, why: str = "") -> None:
    """Keep every job in the local pools, or allow cloud pools again."""
    await operator_switches.set_local_only(operator.link, on, why)
    await operator.note(f"local_only.{'on' if on else 'off'}", "fleet", why=why)
