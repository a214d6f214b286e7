"""`openfall breakers`: what is left alone, why and for how long; and an operator's word on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    age,
    clock,
    print_line,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from openfall.router_core.catalog.entries import Catalog
    from openfall.router_core.state.breakers import BreakerChange, BreakerStatus
    from openfall.router_core.vocabulary import (
        BreakerState,
    )

COLUMNS = ("breaker", "state", "since", "opened", "why")


@click.group("breakers", invoke_without_command=True)
@click.option("--history", is_flag=True, help="The last changes of any of them, newest first.")
@config_option
@json_option
@click.pass_context
def breakers(ctx: click.Context, history: bool, config_path: Path | None, as_json: bool) -> None:
    """What is left alone, why and for how long. A breaker is BACKEND/MODEL, or key:BACKEND for a backend's key.

    Only those that ever had trouble are shown: every other one is closed.
    """
    ctx.obj = config_path
    if ctx.invoked_subcommand is None:
        run(_history(config_path, as_json) if history else _list(config_path, as_json))


async def _list(config_path: Path | None, as_json: bool) -> None:
    from openfall.router_core.state import breakers as state

    async with opened(config_path) as llm:
        now = await llm.store.server_time()
        rows = await state.list_breakers(llm.store.connection)
    catalog = llm.config.catalog
    if as_json:
        show_json([{"name": named(catalog, row.target), **asdict(row)} for row in rows])
    elif not rows:
        print_line("every breaker is closed, and none was ever open")
    else:
        show_table(COLUMNS, _rows(catalog, rows, now))


async def _history(config_path: Path | None, as_json: bool) -> None:
    from openfall.router_core.state.breakers import breaker_history

    async with opened(config_path) as llm:
        changes: list[BreakerChange] = await breaker_history(llm.store.connection)
    catalog = llm.config.catalog
    if as_json:
        show_json([{"name": named(catalog, one.target), **asdict(one)} for one in changes])
    elif not changes:
        print_line("no breaker has ever changed")
    else:
        columns = ("when", "breaker", "from", "to", "why")
        show_table(
            columns,
            ((clock(one.at), named(catalog, one.target), one.before, one.after, one.why) for one in changes),
        )


def _rows(catalog: Catalog, rows: list[BreakerStatus], now: float) -> Iterator[tuple[object, ...]]:
    for row in rows:
        since = age(now - row.since) if row.since else "-"
        yield named(catalog, row.target), words_of(row, now), since, row.open_count, row.why


def words_of(row: BreakerStatus, now: float) -> str:
    """The state of a breaker in a few words: `open, next probe in 24s`, `closed by hand for 5m more`."""
    state = str(row.state).replace("_", " ")
    told = []
    if row.forced:
        end = f"for {age(row.forced_until - now)} more" if row.forced_until else "until further notice"
        told.append(f"{state} by hand {end}")
    elif row.until is not None:
        left = row.until - now
        told.append(f"{state}, next probe {f'in {age(left)}' if left > 0 else 'is due'}")
    else:
        told.append(state)
    if row.cooling_until and row.cooling_until > now:
        told.append(f"cools down for {age(row.cooling_until - now)} more (429)")
    if row.ramping:
        told.append("slots come back one by one")
    if row.consecutive_failures:
        told.append(f"{row.consecutive_failures} failed in a row")
    return ", ".join(told)


def named(catalog: Catalog, target: str) -> str:
    """The name of a breaker as people write it: a key is that of the backends that use it."""
    if not target.startswith("key:"):
        return target
    at = [name for name in catalog.backends if catalog.credential(name) == target.removeprefix("key:")]
    return f"key:{','.join(at)}" if at else "key:(of no backend in this configuration)"


def target_of(catalog: Catalog, name: str) -> str:
    """The breaker of a name; `UnknownName` with the nearest when there is none."""
    from openfall.router_core.catalog.errors import UnknownName
    from openfall.router_core.deciding.breaker import breaker_target, credential_target

    known = {
        breaker_target(at, alias): breaker_target(at, alias)
        for alias, spec in catalog.models.items()
        for at in spec.backends
    }
    for backend in catalog.backends:
        if credential := catalog.credential(backend):
            known[f"key:{backend}"] = credential_target(credential)
            known[named(catalog, credential_target(credential))] = credential_target(credential)
    if name not in known:
        raise UnknownName("breaker", name, known)
    return known[name]


def _word(name: str, *, words: str, told: bool) -> Any:
    """A command that says an operator's word: `open`, `close` or `auto`."""

    def command(name_: str, config_path: Path | None, as_json: bool, **more: Any) -> None:
        found: BreakerState = run(_say(config_path or click.get_current_context().obj, name, name_, more))
        if as_json:
            show_json({"name": name_, "state": found})
        else:
            click.echo(f"{name_} is {str(found).replace('_', ' ')}{_meant(name, more)}")

    command.__doc__ = words
    made: Any = click.argument("name_", metavar="NAME")(config_option(json_option(command)))
    if told:
        made = click.option("--for", "lasts", metavar="DURATION", help="So long: 90s, 10m, 2h. Else for good.")(made)
        made = click.option("--reason", default="", help="What whoever looks next should know.")(made)
    return breakers.command(name)(made)


def _meant(verb: str, more: dict[str, Any]) -> str:
    if verb == "auto":
        return ", and goes its own way again"
    return f" for {more['lasts']}" if more["lasts"] else ", until you say `openfall breakers auto`"


async def _say(config_path: Path | None, verb: str, name: str, more: dict[str, Any]) -> BreakerState:
    from openfall.producers.request import parse_duration
    from openfall.router_core.state.breakers import BreakerOverride, force_breaker, reset_breaker
    from openfall.router_core.vocabulary import (
        BreakerState,
    )

    lasts = parse_duration(more["lasts"]) if more.get("lasts") else None
    async with opened(config_path) as llm:
        catalog = llm.config.catalog
        breaker_target = target_of(catalog, name)
        if verb == "auto":
            return await reset_breaker(llm.store.connection, breaker_target, catalog.breakers)
        why = more["reason"] or "an operator said so"
        word = BreakerOverride(BreakerState.OPEN if verb == "open" else BreakerState.CLOSED, why, lasts)
        return await force_breaker(llm.store.connection, breaker_target, word, catalog.breakers)


_word("open", words="Let nobody call it: no job, no probe.", told=True)
_word("close", words="Let everybody call it, whatever comes of it.", told=True)
_word("auto", words="Take that back: it opens and closes by itself again, and is probed at once if open.", told=False)
