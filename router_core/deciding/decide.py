"""What to do next with a job, given what has been tried. Pure: time and chance are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.candidates import (
    Candidate,
    ChainState,
    first_due,
    is_judging,
    ready,
)
from openfall.router_core.deciding.ensemble import (
    AskModel,
    Best,
    best,
    ensemble_for,
    parse_verdict,
    proceed,
)
from openfall.router_core.deciding.explain import (
    explain_blocked,
    explain_choice,
    explain_handoff,
    explain_retry,
)
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.outcome import (
    Answer,
    Attempt,
    Completion,
    Failure,
    Outcome,
)
from openfall.router_core.routing.fleet_state import (
    FleetState,
)
from openfall.router_core.vocabulary import (
    BlockReason,
    ErrorClass,
    Fallback,
    HoldReason,
    Urgency,
)

OWN_FAULTS = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CONTENT_FILTER,
})  # fmt: skip
"""What no outage causes and no waiting cures: a job that met nothing else fails, it does not fall."""

_NO_OUTAGE = OWN_FAULTS | {ErrorClass.INVALID_OUTPUT}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is so at the moment of deciding.

    `here` is the model whose queue delivered the job or in whose queue it waits; `jitter` is in [0, 1]; `answers` are
    those that an ensemble has so far, kept with the job. `stand_in`: here is outside the job's chain and asked in its
    stead (see `degrade`); none of the chain is asked now.
    """

    here: str
    jitter: float = 0.5
    fleet: FleetState = field(default_factory=FleetState)
    answers: Sequence[Answer] = ()
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Ask this model now, for at most `timeout` seconds. `why`, a few words, goes into the attempt's record.

    `judging`: it is asked for a verdict on the answers (`ensemble.judge_body`), not for the job's own body.
    """

    model: str
    timeout: float
    why: str = ""
    judging: bool = False


@dataclass(frozen=True, slots=True)
class Handoff:
    """Put the job into the queue of the next model. `kind` is what made it a fallback; None: it is none."""

    model: str
    at_front: bool
    why: str = ""
    kind: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """Put the job back for this model, to be delivered after `delay` seconds."""

    model: str
    delay: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fall:
    """Nothing can serve the job now: it falls, for this reason. `detail` names what is in the way of each model."""

    reason: HoldReason
    detail: str


@dataclass(frozen=True, slots=True)
class Done:
    """The job has its one terminal result. `expired` when the deadline ended it rather than an outcome of its own.

    `answer` and `why` tell whose answer it is and why it was picked, when an ensemble was asked.
    """

    outcome: Outcome
    expired: bool = False
    answer: Answer | None = None
    why: str = ""


Step = Call | Handoff | Later | Fall | Done


def decide(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step:
    """The next step of a job that has no answer yet, or of an ensemble that has too few. The first rule that fits:

    0. With an answer in hand, an ensemble asks the next model that may be asked at once, or the judge, or picks.
    1. Past its deadline the job is done, expired.
    2. A failure that is the job's own (a bad request, a cancel) ends it: another model would say the same.
    3. A model may still answer when it is allowed and not exhausted, and is due when neither its back-off nor what
       blocks it is in the way. Here is such a model, and due: it is called, wherever it stands in the chain.
    4. Here has just failed and may be asked again: a job that is not interactive waits for it, when the wait is no
       longer than back-offs are, ends before the deadline, and the pool may repeat calls.
    5. Of the models that are due the one asked least is handed the job, by the order of the chain among equals.
    6. Otherwise the job waits for the one that is due first; but for no block that lasts longer than its
       `start_within` from now, and an interactive one for no longer back-off either.
    7. When there is none to wait for before the deadline, it falls; or it fails, if none is left and all that it met
       were its own faults.
    """
    chain = get_chain(job, catalog, attempts, conditions)
    if conditions.answers:
        ask = proceed(chain, conditions.answers, conditions.here, now)
        if isinstance(ask, AskModel) and ask.model == conditions.here:
            return _call(chain, ask.model, now, ask.why, judging=ask.judging)
        return _onwards(chain, ask)
    if now >= job.deadline:
        return _expired(attempts)
    failed = chain.last_failure
    if failed is not None and failed.disposition and not failed.disposition.try_next_model:
        return Done(_failure(failed))
    here = chain.prospect(conditions.here, now)
    if here is not None and here.due <= now:
        first = conditions.stand_in and not here.asked
        return _call(chain, here.model, now, "stands in for its chain" if first else explain_choice(chain, here, now))
    if here is not None and failed is not None and _waits_for(chain, here, failed):
        return Later(here.model, here.due - now, explain_retry(here, failed))
    return _elsewhere(chain, chain.prospects(now), conditions, now)


def conclude(
    job: CompletionJob,
    catalog: Catalog,
    attempts: Sequence[Attempt],
    outcome: Outcome,
    conditions: Conditions,
) -> Step:
    """The step after a call that just ended, whose attempt is the last of `attempts`. Never `Call`.

    An answer is an answer, however late; but one of an ensemble joins those in hand, and a judge's is a verdict on
    them. A failure is decided at the moment it ended: back-off keeps a model that has just failed from being due.
    """
    last, answers = attempts[-1], conditions.answers
    chain = get_chain(job, catalog, attempts, conditions)
    if isinstance(outcome, Completion):
        if is_judging(last):
            return _onwards(chain, best(chain, answers, parse_verdict(outcome.text, len(answers))))
        if ensemble_for(job, catalog) is None and not answers:
            return Done(outcome)
        answers = (*answers, Answer(last.model, last.backend, outcome))
    if answers:
        return _onwards(chain, proceed(chain, answers, conditions.here, last.ended_at))
    return decide(job, catalog, attempts, conditions, last.ended_at)


def get_chain(job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions) -> ChainState:
    """What is asked about the models that a job may use: those of its chain, or the one that stands in for them."""
    asked = job.model_copy(update={"chain": (conditions.here,)}) if conditions.stand_in else job
    return ChainState(asked, catalog, attempts, conditions.fleet, conditions.jitter)


def explain_fall(chain: ChainState, now: float) -> Fall:
    """Why nothing can serve a job: the reason, and what is in the way of each model of its chain.

    Its own fault, when none is left, and each that was asked met a fault of the job's or gave an answer that it does
    not take. Rules on staying local, when nothing else forbids any. Paused queues, when nothing else is in the way of
    those that are left. Its budget, when each attempt was refused for it. Else an outage.
    """
    met, left = [attempt.error for attempt in chain.attempts], chain.prospects(now)
    told = "; ".join(f"{alias}: {words}" for alias, words in explain_blocked(chain, now).items())
    if met and not left and all(error in _NO_OUTAGE for error in met):
        return Fall(HoldReason.OWN_FAULT, f"no model of its chain gives an answer that it takes ({told})")
    reason = HoldReason.OUTAGE
    if chain.only_local_forbids(now):
        reason = HoldReason.LOCAL_ONLY
    elif left and all(one.blocked is not None and one.blocked.obstacle is BlockReason.PAUSED for one in left):
        reason = HoldReason.PAUSED
    elif met and all(error is ErrorClass.BUDGET for error in met):
        reason = HoldReason.BUDGET
    return Fall(reason, f"no model of its chain can be asked ({told})")


def hand_off(chain: ChainState, model: str, here: str, now: float) -> Handoff:
    """The hand-off from `here` to another model: to the front of its queue for an interactive job."""
    why, kind = explain_handoff(chain, here, now)
    return Handoff(model, chain.job.urgency is Urgency.INTERACTIVE, why, kind)


def _elsewhere(chain: ChainState, prospects: Sequence[Candidate], conditions: Conditions, now: float) -> Step:
    """Rules 5 to 7: a job that is not asked of here now."""
    if others := ready(prospects, now):
        return hand_off(chain, others[0].model, conditions.here, now)
    due = first_due(prospects, conditions.here)
    if due is not None and due.due < chain.job.deadline and _in_time(chain, due, now):
        return Later(due.model, due.due - now, f"{due.model} is due first: {explain_blocked(chain, now)[due.model]}")
    if conditions.stand_in:
        told = explain_blocked(chain, now)[conditions.here]
        return Fall(HoldReason.OUTAGE, f"nor does its stand-in answer ({conditions.here}: {told})")
    met = [attempt.error for attempt in chain.attempts]
    if met and not prospects and all(error in OWN_FAULTS for error in met):
        return Done(_failure(chain.attempts[-1]))
    return explain_fall(chain, now)


def _in_time(chain: ChainState, first: Candidate, now: float) -> bool:
    """Rule 6: whether the one that is due first is worth waiting for."""
    span, interactive = chain.catalog.urgency[chain.job.urgency].start_within, chain.job.urgency is Urgency.INTERACTIVE
    soon, block = now + span, first.blocked
    if block is None:
        return not interactive or first.due <= soon
    if interactive or block.obstacle is not BlockReason.COOLDOWN:  # who paces us is there; what is away may stay away
        soon = min(soon, chain.start_by + span)
    return (first.due if interactive else block.until) <= soon


def _waits_for(chain: ChainState, here: Candidate, failed: Attempt) -> bool:
    """Rule 4, but for the failure."""
    return (
        chain.job.urgency is not Urgency.INTERACTIVE
        and failed.model == here.model
        and here.blocked is None
        and here.due < chain.job.deadline
        and (failed.retry_after or 0.0) <= chain.catalog.retry.max_backoff
        and chain.fleet.model(here.model).may_retry
    )


def _onwards(chain: ChainState, ask: AskModel | Best) -> Handoff | Done:
    """Rule 0, when it is not here that is asked."""
    if isinstance(ask, Best):
        return Done(ask.answer.completion, answer=ask.answer, why=ask.why)
    failed = chain.last_failure
    kind = failed.disposition.fallback if failed and failed.disposition else None
    return Handoff(ask.model, chain.job.urgency is Urgency.INTERACTIVE, ask.why, kind)


def _call(chain: ChainState, model: str, now: float, why: str, *, judging: bool = False) -> Call:
    timeout = min(chain.catalog.models[model].timeout, chain.job.deadline - now)
    return Call(model, timeout, why, judging)


def _expired(attempts: Sequence[Attempt]) -> Done:
    told = " in the queue"
    if attempts:
        last = attempts[-1]
        told = f"; attempts: {len(attempts)}, the last: {last.model}: {last.detail or last.error}"
    return Done(Failure(error_class=ErrorClass.TIMEOUT, detail="its deadline passed" + told), expired=True)


def _failure(attempt: Attempt) -> Failure:
    return Failure(
        error_class=attempt.error or ErrorClass.OTHER, detail=attempt.detail, retry_after=attempt.retry_after
    )
