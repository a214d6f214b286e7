"""The outcome of one call: an answer or a failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS, Disposition
from openfall.router_core.jobs.reasoning import without_reasoning
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.router_core.vocabulary import ErrorClass, LimitScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer. `body` is the provider's whole response in the dialect of the job."""

    text: str
    finish_reason: str
    usage: Usage = NO_USAGE
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedLimit:
    """The limit for which a provider refused a call, as far as its response names it. `is_lasting`: it counts hours or
    days, so that it does not renew within minutes."""

    scope: LimitScope = LimitScope.UNKNOWN
    is_lasting: bool = False


UNKNOWN_LIMIT = RefusedLimit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer, and the reason. `detail` is for people, without secret and prompt; `retry_after` is in seconds.

    `http_status` is the status of the response, if it was an error. `usage`: what the provider counted all the same, as
    for a refusal. `never_sent`: the request did not reach the provider. `limit`: of a refusal for a limit. `refusal`:
    the model refused in an answer of its own, which is the job's answer if no other model answers. `connection_fault`:
    why the connection failed, in a few words.
    """

    error_class: ErrorClass
    detail: str = ""
    retry_after: float | None = None
    http_status: int | None = None
    usage: Usage = NO_USAGE
    never_sent: bool = False
    limit: RefusedLimit = UNKNOWN_LIMIT
    refusal: Completion | None = field(default=None, compare=False, repr=False)
    connection_fault: str = ""

    @property
    def cause(self) -> str:
        """See `describe_cause`."""
        return describe_cause(self.error_class, self.http_status, self.connection_fault)

    @property
    def disposition(self) -> Disposition:
        return DISPOSITIONS[self.error_class]


Outcome = Completion | Failure


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that stays with its job: one of an ensemble until the best is picked, or a refusal (`is_refusal`), in
    case no other model answers."""

    model: str
    backend: str
    completion: Completion
    is_refusal: bool = False

    @property
    def text(self) -> str:
        """The text without its leading reasoning."""
        return without_reasoning(self.completion.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one model with its outcome: a row of the job's history. Times are epoch seconds, server clock."""

    model: str
    backend: str
    started_at: float
    ended_at: float
    error: ErrorClass | None = None
    """None: it answered."""
    detail: str = ""
    retry_after: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nusd: int | None = None
    """The cost of the call, in nanodollars. None: unknown, which is not 0."""
    why: str = ""
    """Why this model was called: a few words from `decide`."""
    is_judging: bool = False
    """The call had to judge answers: it gave no answer of its own, and does not count as a try."""
    http_status: int | None = None
    """The status of the response, if it was an error."""
    connection_fault: str = ""
    """Why the connection failed, in a few words."""
    service_tier: str = ""
    """The service tier that the call asked for; empty: the standard one."""
    progressed_at: float = 0.0
    """The last moment at which the model was being loaded, or the answer made progress. 0: there was none."""

    @property
    def cost_usd(self) -> float | None:
        """The cost of the call in US dollars, for people. None: unknown."""
        return None if self.cost_nusd is None else self.cost_nusd / 1e9

    @property
    def cause(self) -> str:
        """See `describe_cause`. Empty: it answered."""
        return "" if self.error is None else describe_cause(self.error, self.http_status, self.connection_fault)

    @property
    def disposition(self) -> Disposition | None:
        """What its failure means. A class of a newer openfall means what any other error does."""
        return None if self.error is None else DISPOSITIONS.get(self.error, DISPOSITIONS[ErrorClass.OTHER])

    @property
    def may_be_repeated(self) -> bool:
        return self.disposition is not None and self.disposition.try_same_again


MAX_CAUSE_NOTE = 60
"""Characters of the note of a cause. Causes are counted by their text, so that a long one would be counted alone."""


def describe_cause(error: ErrorClass, http_status: int | None, connection_fault: str = "") -> str:
    """The cause of a failure in a few words: `overloaded (HTTP 529)`, `connection (connection refused)`, `timeout`.

    Failures with the same text have the same cause.
    """
    note = connection_fault if http_status is None else f"HTTP {http_status}"
    return f"{error} ({note})" if 0 < len(note) <= MAX_CAUSE_NOTE else str(error)


def cause_in_brackets(cause: str) -> str:
    """A cause that stands in brackets itself: `overloaded: HTTP 529`."""
    text, bracket, note = cause.removesuffix(")").partition(" (")
    return f"{text}: {note}" if bracket and cause.endswith(")") else cause


def last_errors(attempts: Iterable[Attempt]) -> list[ErrorClass | None]:
    """The error of the last call of each model that had to answer: an earlier one was retried."""
    return list({attempt.model: attempt.error for attempt in attempts if not attempt.is_judging}.values())


def total_cost(attempts: Iterable[Attempt]) -> float | None:
    """The cost of all these calls in US dollars; None if the cost of one is unknown."""
    costs = [attempt.cost_nusd for attempt in attempts]
    return None if None in costs else sum(cost for cost in costs if cost is not None) / 1e9
