"""Why openfall took a step, in a few words for people: for an attempt's record, a job's history, a hold."""

from __future__ import annotations

from openfall.router_core.deciding.candidates import Candidate, ChainState
from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.routing.rank import ordinal
from openfall.router_core.vocabulary import Fallback


def explain_choice(chain: ChainState, candidate: Candidate, now: float) -> str:
    """Why a model is called now: "first in the chain", "repeated after timeout (2nd time)", "fallback (...) after ...".

    If a model before it in the configured chain cannot be called, the text names the first such model and its block.
    """
    if candidate.tries:
        previous = chain.attempts_of(candidate.model)[-1]
        return f"repeated after {previous.cause} ({ordinal(candidate.tries + 1)} time)"
    if (failed := chain.last_failure) is not None:
        return _explain_fallback(failed)[0]
    configured = chain.job.as_configured
    position = configured.index(candidate.model)
    if position == 0:
        return "first in the chain"
    blocks = explain_blocked(chain, now)
    skipped = next((f"; {alias}: {blocks[alias]}" for alias in configured[:position] if alias in blocks), "")
    return f"{ordinal(position + 1)} in the chain{skipped}"


def explain_handoff(chain: ChainState, current_model: str, now: float) -> tuple[str, Fallback | None]:
    """Why a job leaves its current model, and the kind of fallback that this is.

    The reason is the failure that just ended, else what blocks the model for all jobs, else its failure before.
    """
    failed, blocked = chain.last_failure, chain.blocked(current_model, now)
    own_failure = failed if failed is not None and failed.model == current_model else None
    if own_failure is not None and (blocked is None or own_failure.ended_at >= now):
        return _explain_fallback(own_failure)
    if current_model not in chain.catalog.models:
        return f"{current_model}: {chain.forbidden(current_model)}", Fallback.UNAVAILABLE
    if (forbidden := chain.forbidden(current_model)) is not None:
        return f"{current_model}: {forbidden}", Fallback.POLICY
    if blocked is not None:
        return f"{current_model}: {blocked.detail}", DISPOSITIONS[blocked.error_class].fallback
    if current_model not in chain.job.chain:
        return f"{current_model}: not in its chain", None
    if (block := explain_blocked(chain, now).get(current_model)) is not None:
        return f"{current_model}: {block}", None
    return f"{current_model}: late, and another model is idle", Fallback.OVERLOAD


def explain_retry(candidate: Candidate, failed: Attempt) -> str:
    """Why a job waits for the model that has just failed."""
    return f"{candidate.model} is repeated after {failed.cause} ({ordinal(candidate.tries + 1)} time)"


def explain_blocked(chain: ChainState, now: float) -> dict[str, str]:
    """For each model of the chain that cannot be called now: why."""
    candidates = {candidate.model: candidate for candidate in chain.candidates(now)}
    reasons = ((alias, _explain_block(chain, alias, candidates.get(alias), now)) for alias in chain.job.chain)
    return {alias: reason for alias, reason in reasons if reason is not None}


def explain_unanswered(chain: ChainState, now: float) -> str:
    """For each model of the chain: its last failure, what blocks it, or that no call ended. Calls before a release are
    not counted."""
    reasons = explain_blocked(chain, now)
    for attempt in chain.attempts:
        reasons[attempt.model] = f"{attempt.error}, {attempt.detail}" if attempt.detail else str(attempt.error)
    return "; ".join(f"{alias}: {reasons.get(alias, 'no call ended meanwhile')}" for alias in chain.job.chain)


def _explain_block(chain: ChainState, alias: str, candidate: Candidate | None, now: float) -> str | None:
    if (forbidden := chain.forbidden(alias)) is not None:
        return forbidden
    if candidate is None:
        return _explain_exhausted(chain.attempts_of(alias))
    if candidate.due <= now:
        return None
    if candidate.blocked is not None:
        return candidate.blocked.detail
    if not candidate.tries:
        return "kept for jobs that are late"
    return f"{chain.attempts_of(alias)[-1].cause}, its next call is in {candidate.due - now:.0f} s at the earliest"


def _explain_exhausted(attempts: list[Attempt]) -> str:
    tries = f", after {len(attempts)} tries" if len(attempts) > 1 else ""
    return f"{attempts[-1].cause or 'answered'}{tries}"


def _explain_fallback(failed: Attempt) -> tuple[str, Fallback | None]:
    kind = failed.disposition.fallback if failed.disposition else None
    return f"fallback ({kind}) after {failed.model}: {failed.cause}", kind
