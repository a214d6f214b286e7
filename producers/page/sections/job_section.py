"""The last jobs: who answered each, in what time, at what cost, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.producers.amount_text import format_usd
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.recent_jobs import ListedJob

SHOWN_ID_LETTERS = 8
TONES = {
    "answered": "good", "degraded": "warn", "failed": "bad", "expired": "bad", "held": "warn", "scheduled": "warn",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobRow:
    """What the table shows of a job, as text."""

    job: ListedJob

    @property
    def short_id(self) -> str:
        return self.job.id if len(self.job.id) <= SHOWN_ID_LETTERS + 4 else f"{self.job.id[:SHOWN_ID_LETTERS]}"

    @property
    def outcome(self) -> str:
        return "fell back" if self.job.fell_back and self.job.status == "answered" else self.job.outcome

    @property
    def tone(self) -> str:
        if self.outcome == "fell back":
            return "warn"
        return TONES.get(self.job.status or self.job.state, "")

    @property
    def model(self) -> str:
        """Who answered; of a job without an answer the model of its queue."""
        return self.job.answered_by or self.job.model or "–"

    @property
    def tokens(self) -> str:
        if self.job.output_tokens is None:
            return "–"
        return f"{_thousands(self.job.input_tokens)} → {_thousands(self.job.output_tokens)}"

    @property
    def cost(self) -> str:
        return "–" if self.job.ended_at is None else format_usd(self.job.cost_usd)


def _thousands(tokens: int | None) -> str:
    if tokens is None:
        return "?"
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k"


def job_rows(jobs: Sequence[ListedJob]) -> list[JobRow]:
    return [JobRow(job) for job in jobs]


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    page = snapshot.sources.get("jobs")
    if page is None:
        return {"rows": [], "has_more": False}
    return {"rows": job_rows(page.jobs), "has_more": page.next_cursor is not None}
