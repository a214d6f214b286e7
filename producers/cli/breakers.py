"""`openfall breakers`: lists breakers, forces one open or closed, and resets it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from openfall.producers.breaker_names import display_name
from openfall.producers.cli.options import add_options, common_options, listing_group, with_client, with_operator
from openfall.producers.cli.tables import show
from openfall.producers.cli.terminal import show_outcome
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import parse_duration
from openfall.producers.log_tables import breaker_history_table, breaker_table
from openfall.producers.operations.breaker_override import describe_unknown_keys, force_breaker, reset_breaker
from openfall.producers.operations.operator import Operator
from openfall.router_core.state.breakers import BreakerOverride, breaker_history, list_breakers
from openfall.router_core.vocabulary import BreakerState


@listing_group
@click.option("--history", is_flag=True, help="List the last state changes, newest first.")
@common_options
def breakers(history: bool) -> None:
    """List breakers. A breaker is BACKEND/MODEL, or key:BACKEND for the key of a backend, key:BACKEND/2 for its second.

    Only breakers with a recorded failure or override are listed. Every other breaker is closed.
    """
    with_client(_show_history if history else _show_breakers)


async def _show_breakers(llm: AsyncOpenfall) -> None:
    catalog, now = llm.config.catalog, await llm.store.server_time()
    rows = await list_breakers(llm.store.connection)
    values = [{"name": display_name(catalog, row.target), **asdict(row)} for row in rows]
    show(breaker_table(rows, catalog, now), values)


async def _show_history(llm: AsyncOpenfall) -> None:
    catalog, changes = llm.config.catalog, await breaker_history(llm.store.connection)
    values = [{"name": display_name(catalog, change.target), **asdict(change)} for change in changes]
    show(breaker_history_table(changes, catalog), values)


_override_options = add_options(
    click.option("--for", "lasts", type=DURATION, help="How long: 90s, 10m, 2h. Default: until reset."),
    click.option("--reason", "why", default="an operator forced it", help="A note for other operators."),
    common_options,
)


@breakers.command("force-open", short_help="Let no call through.")
@click.argument("name")
@_override_options
def force_open(name: str, **override: Any) -> None:
    """Let no job and no probe through."""
    _force(name, state=BreakerState.OPEN, **override)


@breakers.command("force-closed", short_help="Let every call through.")
@click.argument("name")
@_override_options
def force_closed(name: str, **override: Any) -> None:
    """Let every call through, even if calls fail."""
    _force(name, state=BreakerState.CLOSED, **override)


@breakers.command(short_help="End an override.")
@click.argument("name")
@common_options
def reset(name: str) -> None:
    """End an override: the breaker works automatically again. An open one is probed at once."""
    state, others = with_operator(lambda operator: _reset(operator, name))
    effect = ", and works automatically again"
    if state is not BreakerState.CLOSED:
        effect = ", and reset: a worker probes it at once, and it closes if the probe succeeds"
    _show_state(name, state, f"{effect}. {others}" if others else effect)


async def _reset(operator: Operator, name: str) -> tuple[BreakerState, str]:
    return await reset_breaker(operator, name), await describe_unknown_keys(operator, name)


def _force(name: str, **override: Any) -> None:
    lasts = override.pop("lasts")
    order = BreakerOverride(**override, seconds=parse_duration(lasts, "--for") if lasts else None)
    forced = with_operator(lambda operator: force_breaker(operator, name, order))
    _show_state(name, forced, f" for {lasts}" if lasts else ", until `openfall breakers reset`")


def _show_state(name: str, state: BreakerState, effect: str) -> None:
    show_outcome(f"{name} is {str(state).replace('_', ' ')}{effect}", {"name": name, "state": state})
