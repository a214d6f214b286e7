"""Holds breakers open or closed, and makes them automatic again."""

from __future__ import annotations

from openfall.producers.breaker_names import find_target
from openfall.producers.operations.operator import Operator
from openfall.router_core.state import breakers
from openfall.router_core.state.breakers import BreakerOverride
from openfall.router_core.vocabulary import BreakerState


async def force_breaker(operator: Operator, name: str, override: BreakerOverride) -> BreakerState:
    """Hold a breaker open or closed. Raises `UnknownName`."""
    target = find_target(operator.catalog, name)
    state = await breakers.force_breaker(operator.link, target, override, operator.catalog.breakers)
    lasts = "until it is reset" if override.seconds is None else f"for {override.seconds:.0f} s"
    await operator.note(f"breaker.force_{override.state}", name, f"{state}, {lasts}", override.why)
    return state


async def reset_breaker(operator: Operator, name: str) -> BreakerState:
    """End an override: an open breaker is probed at once. Raises `UnknownName`."""
    state = await breakers.reset_breaker(operator.link, find_target(operator.catalog, name), operator.catalog.breakers)
    await operator.note("breaker.reset", name, str(state))
    return state
