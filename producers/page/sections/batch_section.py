"""Batches of the gateway: how far each is, and what keeps it from going on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.producers.gateway_batch_status import ExplainedBatch
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.batch_rules.batch_status import CANCELLABLE, ENDED, BatchStatus
from openfall.router_core.state.batches import Batch

FRONT_ROWS = 5


@dataclass(frozen=True, slots=True)
class BatchRow:
    """What the page shows of a batch. Shares are in percent of its lines."""

    batch: Batch
    why: str

    @property
    def ended(self) -> int:
        return sum(self.batch.counts.values())

    @property
    def failed(self) -> int:
        return self.ended - self.batch.counts.get("succeeded", 0)

    @property
    def answered_share(self) -> float:
        return self._share(self.batch.counts.get("succeeded", 0))

    @property
    def failed_share(self) -> float:
        return min(100.0 - self.answered_share, self._share(self.failed))

    def _share(self, lines: int) -> float:
        return min(100.0, 100.0 * lines / self.batch.total) if self.batch.total else 0.0

    @property
    def tone(self) -> str:
        if self.batch.status in (BatchStatus.FAILED, BatchStatus.EXPIRED):
            return "bad"
        return "good" if self.batch.status is BatchStatus.COMPLETED and not self.failed else ""

    @property
    def may_be_cancelled(self) -> bool:
        return self.batch.status in CANCELLABLE

    @property
    def has_ended(self) -> bool:
        return self.batch.status in ENDED


def batch_rows(batches: Sequence[ExplainedBatch]) -> list[BatchRow]:
    return [BatchRow(batch, why) for batch, why in batches]


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    """The batches that go on, then the last ones that have ended."""
    rows = batch_rows(snapshot.sources.get("batches", ()))
    rows.sort(key=lambda row: row.has_ended)
    return {"rows": rows[:FRONT_ROWS], "more": max(0, len(rows) - FRONT_ROWS)}
