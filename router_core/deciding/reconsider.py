"""What to do with a job that waits in a queue that no worker reads, or not soon enough."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.candidates import Candidate, ChainState, ready
from openfall.router_core.deciding.decide import decide, fall_for_reply, get_chain, hand_off
from openfall.router_core.deciding.steps import Call, Conditions, Fall, Handoff, Later, Step
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.routing.fleet_state import OUTAGE_BLOCKS, FleetState
from openfall.router_core.vocabulary import BlockReason, Urgency


def reconsider(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step | None:
    """The step for a job that waits in the queue of its current model, queued or scheduled; None: leave it there.
    Never `Call`. docs/decisions.md has the rules."""
    chain = get_chain(job, catalog, attempts, conditions)
    waits_for_reply = not conditions.answers and now < job.deadline
    step = (fall_for_reply(chain, now) if waits_for_reply else None) or _reconsider_chain(chain, conditions, now)
    if conditions.is_stranded and isinstance(step, Fall) and _is_paused(conditions):
        return None  # a pause ends: a job that cannot go elsewhere falls only when it is late
    return step


def leaves_unmet(catalog: Catalog, fleet: FleetState, current_model: str, step: Step) -> tuple[str, ...]:
    """The model that a job leaves only because its card does not hold it: its card should load it for the next ones."""
    if not isinstance(step, Handoff) or current_model not in catalog.models:
        return ()
    state, on_card = fleet.model(current_model), any(map(catalog.card_of, catalog.models[current_model].backends))
    return (current_model,) if on_card and state.must_be_loaded and state.blocked is None else ()


def _reconsider_chain(chain: ChainState, conditions: Conditions, now: float) -> Step | None:
    job, catalog, attempts = chain.job, chain.catalog, chain.attempts
    candidates = chain.candidates(now)
    current = next((candidate for candidate in candidates if candidate.model == conditions.current_model), None)
    if current is None or conditions.answers or now >= job.deadline:
        step = decide(job, catalog, attempts, conditions, now)
        return None if isinstance(step, Call) else step
    others = [candidate for candidate in ready(candidates, now) if candidate.model != current.model]
    late = now >= chain.start_by
    if current.blocked is None:
        idle = [candidate for candidate in others if late and _is_idle(chain, candidate)]
        return _hand_to_first(chain, current, idle, now)
    if job.urgency is not Urgency.INTERACTIVE and not _all_away(candidates):
        if current.blocked.reason in OUTAGE_BLOCKS:
            late = now >= job.accepted_at + chain.wait_in_outage(Urgency.BACKGROUND)
        if not late:
            if current.blocked.until <= min(chain.start_by, job.deadline):
                others = [candidate for candidate in others if current.blocked.is_outage and _is_able(chain, candidate)]
            return _hand_to_first(chain, current, others, now)
        if others:
            free = [candidate for candidate in others if _has_room(chain, candidate)]
            return _hand_to_first(chain, current, free, now)
    step = decide(job, catalog, attempts, conditions, now)
    return None if isinstance(step, Later) and step.model == current.model else step


def _is_paused(conditions: Conditions) -> bool:
    blocked = conditions.fleet.model(conditions.current_model).blocked
    return blocked is not None and blocked.reason is BlockReason.PAUSED


def _all_away(candidates: Sequence[Candidate]) -> bool:
    return all(candidate.blocked and candidate.blocked.reason in OUTAGE_BLOCKS for candidate in candidates)


def _hand_to_first(chain: ChainState, current: Candidate, others: Sequence[Candidate], now: float) -> Handoff | None:
    return hand_off(chain, others[0].model, current.model, now) if others else None


def _is_able(chain: ChainState, candidate: Candidate) -> bool:
    return chain.fleet.model(candidate.model).can_take_more


def _has_room(chain: ChainState, candidate: Candidate) -> bool:
    state = chain.fleet.model(candidate.model)
    return state.free > 0 or state.would_be_loaded


def _is_idle(chain: ChainState, candidate: Candidate) -> bool:
    state = chain.fleet.model(candidate.model)
    return state.free > 0 and state.waiting == 0 and not state.must_be_loaded
