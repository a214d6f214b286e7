"""Holds breakers open or closed, and makes them automatic again."""

from __future__ import annotations

from openfall.producers.breaker_names import find_target
from openfall.producers.operations.operator import Operator
from openfall.producers.outage_text import list_unknown_keys
from openfall.router_core.state import breakers
from openfall.router_core.state.breakers import BreakerOverride, list_breakers
from openfall.router_core.state.server_clock import fetch_server_time
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


async def describe_unknown_keys(operator: Operator, name: str) -> str:
    """A sentence on the refused keys that only other processes have: a name of a key means that of this configuration.

    Empty: there are none, or `name` is no key."""
    if not name.startswith("key:"):
        return ""
    rows, now = await list_breakers(operator.link), await fetch_server_time(operator.link)
    causes = ", ".join(key.cause for key in list_unknown_keys(rows, operator.catalog, now))
    if not causes:
        return ""
    return (
        f"A key that this configuration does not have takes no calls ({causes}): workers or gateways that read another "
        "file use it. Give them this file, or reset it where theirs is"
    )
