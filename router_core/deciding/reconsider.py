"""What to do with a job that waits in a queue which may not be drained, or not soon enough."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.candidates import Candidate, ChainState, ready
from openfall.router_core.deciding.decide import (
    Call,
    Conditions,
    Handoff,
    Later,
    Step,
    decide,
    get_chain,
    hand_off,
)
from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.vocabulary import (
    Urgency,
)


def reconsider(
    job: CompletionJob, catalog: Catalog, attempts: Sequence[Attempt], conditions: Conditions, now: float
) -> Step | None:
    """What to do with a job that waits in the queue of `here`, queued or scheduled; None: leave it. Never `Call`.

    1. Past its deadline, with an answer in hand, or where it may not be asked any more, it does as `decide` says.
    2. Here takes calls: it is left; but when it is late it goes to another model that is due and idle.
    3. Here is blocked: an interactive job does at once as `decide` says.
    4. Any other is left while the block ends before the job is late; if it does not, the job goes to another model
       that may be asked now, as soon as there is one.
    5. Once it is late it goes to another model that may be asked now and has a free slot; when none of them has, it
       is left; when none may be asked now, it does as `decide` says.
    """
    chain = get_chain(job, catalog, attempts, conditions)
    prospects = chain.prospects(now)
    here = next((one for one in prospects if one.model == conditions.here), None)
    if here is None or conditions.answers or now >= job.deadline:
        step = decide(job, catalog, attempts, conditions, now)
        return None if isinstance(step, Call) else step
    others = [one for one in ready(prospects, now) if one.model != here.model]
    late = now >= chain.start_by
    if here.blocked is None:
        return _to_first(chain, here, [one for one in others if late and _is_idle(chain, one)], now)
    if job.urgency is not Urgency.INTERACTIVE:
        if not late:
            stays = here.blocked.until <= min(chain.start_by, job.deadline)
            return None if stays else _to_first(chain, here, others, now)
        if others:
            return _to_first(chain, here, [one for one in others if chain.fleet.model(one.model).free > 0], now)
    step = decide(job, catalog, attempts, conditions, now)
    return None if isinstance(step, Later) and step.model == here.model else step


def _to_first(chain: ChainState, here: Candidate, others: Sequence[Candidate], now: float) -> Handoff | None:
    return hand_off(chain, others[0].model, here.model, now) if others else None


def _is_idle(chain: ChainState, prospect: Candidate) -> bool:
    state = chain.fleet.model(prospect.model)
    return state.free > 0 and state.waiting == 0
