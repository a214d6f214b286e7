"""What was used: sums of the ledger by day, model, backend or group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openfall.router_core.state.ledger import LedgerEntry, ledger_total


class UsageKey(StrEnum):
    """What the rows of a table of usage are for."""

    MODEL = "model"
    BACKEND = "backend"
    GROUP = "group"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What one model, backend, group (None: calls of no group) or day (UTC) has used. `calls` counts each attempt, and
    `answered` those that did not fail. `probes` of them were health prompts of openfall itself. `nusd` is the known
    cost in nanodollars; the cost of `unpriced` calls is not known."""

    name: str | None
    calls: int
    answered: int
    failed: int
    probes: int
    input_tokens: int
    output_tokens: int
    nusd: int
    unpriced: int


def usage_rows(entries: Iterable[LedgerEntry], by: UsageKey) -> list[UsageRow]:
    """A row for each model, backend or group, the dearest first; or for each day, in their order."""
    same: dict[str | None, list[LedgerEntry]] = {}
    for entry in entries:
        same.setdefault(getattr(entry, by), []).append(entry)
    rows = [_row(name, ledger_total(members)) for name, members in same.items()]
    if by is UsageKey.DAY:
        return sorted(rows, key=lambda row: row.name or "")
    return sorted(rows, key=lambda row: (-row.nusd, -row.calls, row.name or ""))


def _row(name: str | None, total: LedgerEntry) -> UsageRow:
    return UsageRow(
        name=name,
        calls=total.calls,
        answered=max(0, total.calls - total.failed),
        failed=total.failed,
        probes=total.probes,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        nusd=total.nusd,
        unpriced=total.unpriced,
    )
