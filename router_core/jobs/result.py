"""The result of a job: exactly one is terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.jobs.outcome import Attempt, total_cost
from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, ServedBy

REPLIES_WITHOUT_CALL = frozenset({Remedy.LAST_ANSWER, Remedy.CANNED_REPLY})
"""Remedies whose reply comes from no call of the job."""


class Status(StrEnum):
    """How a job ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEGRADED = "degraded"  # there is a reply that is no answer of its chain; or, while it is held, none yet


_MOVED_BACK = re.compile(r"; (\S+) moved back: (.+)$")
"""The end of a reason, of a model that was passed over."""


class Result(BaseModel):
    """The end of a job, with its history.

    `body` is the provider's whole response in the job's dialect. `waited` is seconds from acceptance to the start of
    the call that ended it, `took` seconds from acceptance to the result. `attempts` are all its calls, oldest first;
    unknown token counts are None, never 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: Status
    attempts: tuple[Attempt, ...] = ()
    body: dict[str, Any] | None = None
    finish_reason: str | None = None
    error: ErrorClass | None = None
    detail: str = ""
    waited: float = 0.0
    took: float = 0.0
    reason: str = ""
    """Why this chain: a sentence a person understands."""
    considered: tuple[ConsideredModel, ...] = ()
    """Every model that was considered, with its reason; empty when there was only one."""
    first_choice: str | None = None
    """The first of the chain as configured, if another model was called first, or answered in place of an ensemble's
    first choices."""
    held_until: float | None = None
    """Of an interim reply: the job and its answer are kept until then (epoch seconds, server clock)."""
    served_by: ServedBy | None = None
    """Where the answer was computed. None: no model answered, or it is not known."""
    picked: str | None = None
    """`model@backend` of the picked answer of an ensemble; None: the answer is the last attempt's."""
    picked_why: str = ""
    degraded_by: Remedy | None = None
    """The remedy, if no model of its chain could serve the job."""
    degraded_why: str = ""
    held_for: HoldReason | None = None
    """The job continues: it is held for this reason, and its one terminal result follows later."""

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """A short line for a notebook or a log: who answered, or why no model did. It has no text of the answer."""
        yield "id", self.id
        yield "status", str(self.status)
        for name in ("model", "error", "degraded_by", "held_for"):
            if (value := getattr(self, name)) is not None:
                yield name, str(value)
        yield "took", round(self.took, 3)

    @property
    def text(self) -> str:
        """The answer as text, whatever its dialect; empty when there is none."""
        return answer_text(self.body or {})

    @property
    def refused(self) -> bool:
        """The answer is a model's refusal: each of its calls counts as refused."""
        return self.status is Status.ANSWERED and bool(self.attempts) and all(each.error for each in self.attempts)

    @property
    def answered(self) -> bool:
        """There is a text to read: an answer, or the reply of a degraded job."""
        return self.status is Status.ANSWERED or (self.degraded and self.body is not None)

    @property
    def degraded(self) -> bool:
        return self.status is Status.DEGRADED

    @property
    def final(self) -> bool:
        """This is the terminal result. False: the job is held, and continues by itself."""
        return self.held_for is None

    @property
    def model(self) -> str | None:
        """The model that answered; for a job without an answer, the last one called. None if no model answered."""
        if self.picked:
            return self.picked.partition("@")[0]
        return None if self._last is None else self._last.model

    @property
    def backend(self) -> str | None:
        if self.picked:
            return self.picked.partition("@")[2]
        return None if self._last is None else self._last.backend

    @property
    def output_tokens(self) -> int | None:
        return None if self._last is None else self._last.output_tokens

    @property
    def input_tokens(self) -> int | None:
        return None if self._last is None else self._last.input_tokens

    @property
    def fallback_used(self) -> bool:
        """Another model than the first of the chain as configured answered: see `job_substitution`."""
        if not self.answered or self.model is None:
            return False
        if self.picked:
            return self.first_choice not in (None, self.model)
        return self.model != (self.first_choice or self.attempts[0].model)

    @property
    def models_tried(self) -> int:
        """The number of models that were called for an answer. A model that only judged answers does not count."""
        return len({attempt.model for attempt in self.attempts if not attempt.is_judging})

    @property
    def _last(self) -> Attempt | None:
        """The call that ended the job; None: no call did."""
        return self.attempts[-1] if self.attempts and self.degraded_by not in REPLIES_WITHOUT_CALL else None

    @property
    def cost_usd(self) -> float | None:
        """The cost of all attempts; None if the cost of one is unknown."""
        return total_cost(self.attempts)

    @property
    def latency_ms(self) -> int:
        """From acceptance to the result, every wait and every attempt included."""
        return round(self.took * 1000)

    @property
    def selection_reason(self) -> str:
        """Why this model answered, or why no model of its chain did: a sentence for people."""
        if self.picked and not self.degraded_why:
            return self.picked_why
        why = self.degraded_why or (self.attempts[-1].why if self.fallback_used else "")
        reason = self.reason
        if (moved := _MOVED_BACK.search(reason)) and f"{moved[1]}: {moved[2]}" in why:  # it says so already
            reason = reason[: moved.start()]
        return "; ".join(filter(None, (why, reason)))

    def as_json(self) -> dict[str, Any]:
        """The form of `--json` and webhooks: the most used values, then the whole result. Unknown is null, never 0."""
        names = (
            "degraded", "final", "text", "backend", "fallback_used", "models_tried", "latency_ms", "selection_reason",
            "cost_usd",
        )  # fmt: skip
        summary = {name: getattr(self, name) for name in names}
        return {"model_used": self.model if self.answered else None, **summary, **self.model_dump(mode="json")}
