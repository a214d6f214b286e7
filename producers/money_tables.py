"""What calls cost and saved: for `openfall spend`, `openfall usage` and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from openfall.producers.amount_text import format_cost, format_seconds, format_usd
from openfall.producers.table import Table
from openfall.router_core.state.ledger import LedgerEntry, ledger_total
from openfall.router_core.state.ledger_sums import UsageKey, UsageRow
from openfall.router_core.state.savings_rows import SavingsRow
from openfall.router_core.state.unexpected_spend_days import UnexpectedDay

NO_CALLS = "no calls"
SPEND_COLUMNS = (
    "model", "backend", "group", "calls", "failed", "as fallback", "left home", "tokens in", "out", "mean", "spent",
)  # fmt: skip
SAVED_COLUMNS = ("paid as", "model", "backend", "calls", "at live prices", "spent", "saved", "by caches")
UNEXPECTED_COLUMNS = ("instead of", "answered", "group", "cause", "calls", "spent")
USAGE_COLUMNS = (
    "calls", "answered", "failed", "fell back", "left home", "mean", "p50", "p95", "tokens in", "cached", "out",
    "reasoning", "spent", "p50 of cost", "p95 of cost", "unconfirmed", "saved",
)  # fmt: skip


def spend_table(entries: Sequence[LedgerEntry]) -> Table:
    """A row for each model, backend and group, and a total."""

    def key(entry: LedgerEntry) -> tuple[str, str, str]:
        return entry.model, entry.backend, entry.group or "-"

    rows = [
        (*names, *_spend_cells(ledger_total(list(same)))) for names, same in groupby(sorted(entries, key=key), key=key)
    ]
    total = [("all", "", "", *_spend_cells(ledger_total(entries), with_mean=False))] if rows else []
    return Table(columns=SPEND_COLUMNS, rows=[*rows, *total], if_empty=NO_CALLS)


def _spend_cells(entry: LedgerEntry, *, with_mean: bool = True) -> tuple[object, ...]:
    counts = (entry.calls, entry.failed, entry.as_fallback, entry.left_home, entry.input_tokens, entry.output_tokens)
    mean = (format_seconds(entry.seconds / entry.calls) if entry.calls else "-") if with_mean else ""
    return *counts, mean, format_cost(entry.usd, entry.unpriced)


def savings_table(rows: Sequence[SavingsRow]) -> Table:
    """What calls cost less than at live prices, and a total."""
    cells = [(paid_as, total.model, total.backend, *_savings_cells(total)) for paid_as, total in rows]
    total = [("all", "", "", *_savings_cells(ledger_total([row.total for row in rows])))] if rows else []
    return Table(columns=SAVED_COLUMNS, rows=[*cells, *total], if_empty=NO_CALLS)


def _savings_cells(total: LedgerEntry) -> tuple[object, ...]:
    return total.calls, *map(_usd, (total.live_nusd, total.nusd, total.saved_nusd, total.cache_saved_nusd))


def unexpected_table(days: Iterable[UnexpectedDay]) -> Table:
    """Metered calls in place of models that cost nothing."""
    rows = [row for day in days for row in day.rows]
    cells = [(row.instead_of, row.model, row.group or "-", row.cause, row.calls, _usd(row.nusd)) for row in rows]
    if_empty = "no metered call in place of a model that costs nothing"
    return Table(columns=UNEXPECTED_COLUMNS, rows=cells, if_empty=if_empty)


def usage_table(rows: Iterable[UsageRow], by: UsageKey) -> Table:
    return Table(columns=(by.value, *USAGE_COLUMNS), rows=list(map(_usage_cells, rows)), if_empty=NO_CALLS)


def _usage_cells(row: UsageRow) -> tuple[object, ...]:
    counts = (row.calls, row.answered, row.failed, row.as_fallback, row.left_home)
    times = ("-" if t is None else format_seconds(t) for t in (row.mean_seconds, row.p50_seconds, row.p95_seconds))
    tokens = (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens)
    saved = row.saved_nusd + row.cache_saved_nusd
    money = ("-" if nusd is None else _usd(nusd) for nusd in (row.p50_nusd, row.p95_nusd, row.unconfirmed_nusd, saved))
    return row.name or "-", *counts, *times, *tokens, format_cost(row.nusd / 1e9, row.unpriced), *money


def _usd(nusd: int) -> str:
    return f"-{format_usd(-nusd / 1e9)}" if nusd < 0 else format_usd(nusd / 1e9)
