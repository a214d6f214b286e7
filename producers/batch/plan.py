"""What one run of a batch is to do, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from openfall.producers.batch.files import InvalidLine
from openfall.producers.request import SubmitOptions
from openfall.router_core.jobs.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """One run of a batch. What it says of role, task, group, local-only and urgency wins over what the lines say;
    `limit` counts lines."""

    name: str
    source: Path
    role: str | None = None
    task: str | None = None
    group: str | None = None
    local_only: bool = False
    urgency: str | None = None
    limit: int | None = None
    retry_failed: bool = False

    @property
    def options(self) -> SubmitOptions:
        """What it says of every line: only what it does say."""
        names = ("role", "task", "group", "local_only", "urgency")
        told = {name: value for name in names if (value := getattr(self, name)) not in (None, False)}
        return cast("SubmitOptions", told)


@dataclass(slots=True)
class BatchTally:
    """How far a batch has come, in lines. `before`: answered in an earlier run; `gone`: not known to Redis any more.

    `hindered` is why lines wait to be put in, in two words; empty when none do.

    Of this run: `fallbacks` were answered by another model than their first, `usd` is what is known to have been spent,
    `unpriced` counts the lines of which nobody knows what they cost.
    """

    total: int = 0
    before: int = 0
    answered: int = 0
    failed: int = 0
    gone: int = 0
    fallbacks: int = 0
    usd: float = 0.0
    unpriced: int = 0
    hindered: str = ""
    bad: list[InvalidLine] = field(default_factory=list)

    def note(self, result: Result) -> None:
        """Count what a job's end tells beside its answer."""
        self.fallbacks += result.fallback_used
        self.usd += result.cost_usd or 0.0
        self.unpriced += result.cost_usd is None

    @property
    def settled(self) -> int:
        return self.before + self.answered + self.failed + self.gone

    @property
    def flawless(self) -> bool:
        return not (self.failed or self.gone or self.bad)
