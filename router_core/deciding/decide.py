"""The next step of a job, given its attempts. Pure: time and jitter are arguments. docs/decisions.md has the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding import ensemble
from openfall.router_core.deciding.accepted_refusals import accepts_refusals, end_with_refusal, refusal_of
from openfall.router_core.deciding.call_time_limits import call_limits
from openfall.router_core.deciding.candidates import (
    OWN_FAULTS,
    REFUSALS,
    Candidate,
    ChainState,
    first_due,
    postpone,
    ready,
)
from openfall.router_core.deciding.ensemble import Best, NextModel
from openfall.router_core.deciding.explain import (
    explain_blocked,
    explain_choice,
    explain_handoff,
    explain_retry,
    explain_unanswered,
)
from openfall.router_core.deciding.over_budget_rules import is_over_budget, refused_for_budget
from openfall.router_core.deciding.reply_deadline import explain_reply_limit, reply_is_due
from openfall.router_core.deciding.retry_rules import has_other_key
from openfall.router_core.deciding.service_tier import FLEX_TIMEOUT_SECONDS, asked_tier
from openfall.router_core.deciding.steps import Call, Conditions, Done, Fall, Handoff, Later, Step
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure, Outcome, last_errors
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.routing.fleet_state import OUTAGE_BLOCKS
from openfall.router_core.vocabulary import BlockReason, ErrorClass, HoldReason, Urgency


def decide(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step:
    """The next step of a job without an answer, or of an ensemble with too few. The first rule that applies decides:

    1. Past its deadline the job is done, expired.
    2. A failure after which no other model may be called (a cancel) ends the job.
    3. Its caller needs a reply, and a call has failed: the job falls, so that Open Fall replies. A call that does not
       fit into a budget ends the job if the budget says so.
    4. The current model is a candidate and due: call it, whatever its place in the chain.
    5. The current model has just failed and may be called again: a job that is not interactive waits for it. With
       another key, every job does, and at once.
    6. Candidates are due: hand the job to the one with the fewest tries, by the order of the chain among equals.
    7. A candidate is due soon enough: wait for it.
    8. Otherwise the job falls; or it fails, if no candidate remains and every attempt met a fault of its own.

    A job that fails or expires, or falls for a fault of its own, is answered by the last refusal of a model instead.
    """
    return end_with_refusal(_decide(job, catalog, attempts, conditions, now), conditions.refusal, attempts)


def _decide(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step:
    chain = get_chain(job, catalog, attempts, conditions)
    if conditions.answers:
        next_ = ensemble.proceed(chain, conditions.answers, conditions.current_model, now)
        return _ensemble_step(chain, next_, conditions, now)
    if now >= job.deadline:
        return _expired(attempts)
    failed = chain.last_failure
    if failed is not None and failed.disposition and not failed.disposition.try_next_model:
        return Done(_failure(failed))
    if attempts and (late := fall_for_reply(chain, now)) is not None:
        return late
    if chain.over is not None and (refused := refused_for_budget(chain, now)) is not None:
        return Done(refused)
    current = chain.candidate(conditions.current_model, now)
    if current is not None and current.due <= now:
        first_fallback = conditions.default_fallback and not current.tries
        why = "the default fallback for its chain" if first_fallback else explain_choice(chain, current, now)
        return _call(chain, current.model, now, why)
    if current is not None and failed is not None and conditions.may_retry and _waits_for(chain, current, failed):
        return Later(current.model, current.due - now, explain_retry(current, failed))
    return _leave_current(chain, chain.candidates(now), conditions, now)


def conclude(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], outcome: Outcome, conditions: Conditions
) -> Step:
    """The step after a call that just ended; its attempt is the last of `attempts`. Never `Call`.

    An answer is final, however late; so is a refusal that no other model can answer. For an ensemble it joins the other
    answers. A failure is decided at the moment it ended: its back-off keeps the model from being due.
    """
    last = attempts[-1]
    chain = get_chain(job, catalog, attempts, conditions)
    if (next_ := ensemble.after_call(chain, outcome, conditions.answers, conditions.current_model)) is not None:
        return _ensemble_step(chain, next_, None, last.ended_at)
    if isinstance(outcome, Completion):
        return Done(outcome)
    if outcome.refusal is not None and accepts_refusals(job, catalog):
        return Done(outcome.refusal)
    conditions = replace(conditions, refusal=refusal_of(last, outcome) or conditions.refusal)
    return decide(job, catalog, attempts, conditions, last.ended_at)


def is_retry(step: Step, attempts: Sequence[Attempt]) -> bool:
    """Whether a failure leads to one more call of a model that was called for the job before."""
    failed = bool(attempts) and attempts[-1].error is not None
    return failed and isinstance(step, Handoff | Later) and step.model in {attempt.model for attempt in attempts}


def get_chain(job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions) -> ChainState:
    """The state of the models that a job may use: those of its chain, or the one default fallback in their place."""
    if conditions.default_fallback:
        job = job.model_copy(update={"chain": (conditions.current_model,)})
    return ChainState(
        job,
        catalog,
        attempts,
        conditions.fleet,
        conditions.jitter,
        conditions.default_fallback,
        conditions.replied,
        conditions.over,
    )


def explain_fall(chain: ChainState, now: float) -> Fall:
    """Why no model can serve a job: the reason, and what blocks each model of its chain.

    Own fault: no candidate remains, and the last call of each model met a fault of the job or an answer that failed its
    checks.
    Local only: only local-only rules forbid the models. Paused: only paused queues block the candidates. Budget: only a
    budget does. Else an outage.
    """
    errors, candidates = last_errors(chain.attempts), chain.candidates(now)
    blocks = "; ".join(f"{alias}: {reason}" for alias, reason in explain_blocked(chain, now).items())
    if errors and not candidates and all(error in REFUSALS for error in errors):
        return Fall(HoldReason.OWN_FAULT, f"no model of its chain gives an answer that passes: {blocks}")
    reason = HoldReason.OUTAGE
    if chain.only_local_forbids(now):
        reason = HoldReason.LOCAL_ONLY
    elif candidates and all(
        candidate.blocked is not None and candidate.blocked.reason is BlockReason.PAUSED for candidate in candidates
    ):
        reason = HoldReason.PAUSED
    elif candidates and all(is_over_budget(candidate) for candidate in candidates):
        reason = HoldReason.BUDGET
    remedy = f". {chain.over.remedy}" if chain.over is not None and chain.over.remedy else ""
    return Fall(reason, f"no model of its chain can be called: {blocks}{remedy}", chain.over)


def fall_for_reply(chain: ChainState, now: float) -> Fall | None:
    """The fall of a job whose caller needs a reply before another call could end. None: there is time, or no model."""
    if not reply_is_due(chain, now) or not chain.candidates(now):
        return None
    outcome = "its default fallback began no answer either" if chain.default_fallback else "no answer has begun"
    why = f"{outcome} {explain_reply_limit(chain, now)}. {explain_unanswered(chain, now)}"
    return Fall(HoldReason.OUTAGE, why)


def hand_off(chain: ChainState, model: str, current_model: str, now: float) -> Handoff:
    """The hand-off from the current model to another one: to the front of its queue for an interactive job."""
    why, kind = explain_handoff(chain, current_model, now)
    return Handoff(model, chain.job.urgency is Urgency.INTERACTIVE, why, kind)


def _leave_current(chain: ChainState, candidates: Sequence[Candidate], conditions: Conditions, now: float) -> Step:
    """Rules 6 to 8: the job does not call its current model now."""
    if not conditions.may_retry:
        candidates = [postpone(chain, candidate, now) for candidate in candidates]
    if others := ready(candidates, now):
        return hand_off(chain, others[0].model, conditions.current_model, now)
    first = first_due(candidates, conditions.current_model)
    if first is not None and first.due < chain.job.deadline and _is_due_in_time(chain, first, now):
        postponed = first.tries and not conditions.may_retry
        block = "the retry budget is spent" if postponed else explain_blocked(chain, now)[first.model]
        return Later(first.model, first.due - now, f"{first.model} is due first: {block}")
    if conditions.default_fallback:
        block = explain_blocked(chain, now)[conditions.current_model]
        return Fall(HoldReason.OUTAGE, f"nor does its default fallback {conditions.current_model} answer: {block}")
    errors = last_errors(chain.attempts)
    if errors and not candidates and all(error in OWN_FAULTS for error in errors):
        return Done(_failure(next(attempt for attempt in chain.attempts if attempt.error in OWN_FAULTS)))
    return explain_fall(chain, now)


def _is_due_in_time(chain: ChainState, first: Candidate, now: float) -> bool:
    """Rule 7: whether the candidate that is due first is worth the wait."""
    interactive, block = chain.job.urgency is Urgency.INTERACTIVE, first.blocked
    if reply_is_due(chain, first.due):
        return False
    wait_limit = chain.policy.start_within
    if block is None:
        return not interactive or first.due <= now + wait_limit
    if block.reason is BlockReason.BUDGET:  # calls in flight have reserved the rest: they end soon
        return chain.over is not None and chain.over.cause is OverCause.RESERVED
    if block.reason is BlockReason.LIMIT:  # as at a backend without a free slot
        return True
    if block.reason in OUTAGE_BLOCKS:
        wait_limit = chain.wait_in_outage(Urgency.INTERACTIVE)
    latest = now + wait_limit
    # A rate limit means that the provider is up. An outage may last.
    if interactive or block.reason is not BlockReason.COOLDOWN:
        latest = min(latest, chain.job.accepted_at + 2 * wait_limit)
    return (first.due if interactive else block.until) <= latest


def _waits_for(chain: ChainState, current: Candidate, failed: Attempt) -> bool:
    """Rule 5, for a failure that allows a retry. A retry with another key does not wait, so it is for every job."""
    if failed.model != current.model or current.blocked is not None or current.due >= chain.job.deadline:
        return False
    return has_other_key(chain.catalog, chain.attempts_of(current.model)) or (
        chain.job.urgency is not Urgency.INTERACTIVE and (failed.retry_after or 0.0) <= chain.catalog.retry.max_backoff
    )


def _ensemble_step(chain: ChainState, next_: NextModel | Best, conditions: Conditions | None, now: float) -> Step:
    """What an ensemble does next, as a step. `conditions` None: a call has just ended, so this makes none."""
    if isinstance(next_, Best):
        return Done(next_.answer.completion, answer=next_.answer, why=next_.why)
    if conditions is not None and next_.model == conditions.current_model:
        return _call(chain, next_.model, now, next_.why, is_judging=next_.is_judging)
    failed = chain.last_failure
    kind = failed.disposition.fallback if failed and failed.disposition else None
    return Handoff(next_.model, chain.job.urgency is Urgency.INTERACTIVE, next_.why, kind)


def _call(chain: ChainState, model: str, now: float, why: str, *, is_judging: bool = False) -> Call:
    tier = "" if is_judging else asked_tier(chain.job, chain.catalog, model, chain.attempts_of(model), now)
    if tier:
        return Call(model, FLEX_TIMEOUT_SECONDS, why, service_tier=tier)
    timeout, stream_limits = call_limits(chain, model, now)
    return Call(model, timeout, why, is_judging, stream_limits)


def _expired(attempts: Sequence[Attempt]) -> Done:
    context = " in the queue"
    if attempts:
        last = attempts[-1]
        context = f"; attempts: {len(attempts)}, the last: {last.model}: {last.detail or last.error}"
    return Done(Failure(error_class=ErrorClass.TIMEOUT, detail="its deadline passed" + context), expired=True)


def _failure(attempt: Attempt) -> Failure:
    return Failure(
        error_class=attempt.error or ErrorClass.OTHER,
        detail=attempt.detail,
        retry_after=attempt.retry_after,
        http_status=attempt.http_status,
    )
