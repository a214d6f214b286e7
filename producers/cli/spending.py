"""`openfall spend`: what was called for whom, how it went, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from producers.cli.options import config_option, json_option, opened, run
from producers.cli.shown import say, show_json, show_table, spent

if TYPE_CHECKING:
    from router_core.state.ledger import Entry

COLUMNS = ("model", "backend", "group", "calls", "failed", "fell back", "tokens in", "out", "mean", "spent")
KEPT = 100
"""Days for which the ledger is kept."""


@dataclass(slots=True)
class Sums:
    """The calls of some days to one model at one backend for one group."""

    model: str
    backend: str
    group: str | None
    calls: int = 0
    failed: int = 0
    fallbacks: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0

    def add(self, entry: Entry) -> None:
        for name in ("calls", "failed", "fallbacks", "seconds", "input_tokens", "output_tokens", "usd", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(entry, name))


@click.command()
@click.option("--days", type=click.IntRange(1, KEPT), default=1, show_default=True, help="Up to today (UTC).")
@config_option
@json_option
def spend(days: int, config_path: Path | None, as_json: bool) -> None:
    """What was called for whom, and what it cost, by model, backend and group.

    A call of which nobody knows the price is counted as unknown, never as 0. With --json: one entry for each day.
    """
    entries = run(_entries(config_path, days))
    if as_json:
        show_json([asdict(entry) for entry in entries])
    elif not entries:
        say("nothing was called")
    else:
        sums = _summed(entries)
        show_table(COLUMNS, (*_rows(sums), _total(sums)))


async def _entries(config_path: Path | None, days: int) -> list[Entry]:
    from router_core.state.ledger import ledger
    from router_core.state.models import today

    async with opened(config_path) as llm:
        now = float((await llm.link.command("TIME"))[0])
        return await ledger(llm.link, [today(now - 86400 * back) for back in reversed(range(days))])


def _summed(entries: Iterable[Entry]) -> list[Sums]:
    found: dict[tuple[str, str, str | None], Sums] = {}
    for one in entries:
        found.setdefault((one.model, one.backend, one.group), Sums(one.model, one.backend, one.group)).add(one)
    return [found[key] for key in sorted(found, key=lambda key: tuple(part or "" for part in key))]


def _rows(sums: Iterable[Sums]) -> Iterator[tuple[object, ...]]:
    for one in sums:
        mean = f"{one.seconds / one.calls:.1f}s" if one.calls else "-"
        tokens = one.input_tokens, one.output_tokens
        cost = spent(one.usd, one.unpriced)
        yield one.model, one.backend, one.group or "-", one.calls, one.failed, one.fallbacks, *tokens, mean, cost


def _total(sums: list[Sums]) -> tuple[object, ...]:
    def of(name: str) -> int:
        return int(sum(getattr(one, name) for one in sums))

    tokens = of("input_tokens"), of("output_tokens")
    cost = spent(sum(one.usd for one in sums), of("unpriced"))
    return "all", "", "", of("calls"), of("failed"), of("fallbacks"), *tokens, "", cost
