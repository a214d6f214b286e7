"""Why a step was taken, in a few words for people: what an attempt's record, a job's history and a hold tell."""

from __future__ import annotations

from openfall.router_core.deciding.candidates import Candidate, ChainState
from openfall.router_core.jobs.outcome import (
    DISPOSITIONS,
    Attempt,
)
from openfall.router_core.routing.fleet_state import (
    OBSTACLE_ERRORS,
)
from openfall.router_core.routing.rank import ordinal
from openfall.router_core.vocabulary import (
    Fallback,
)


def explain_choice(chain: ChainState, prospect: Candidate, now: float) -> str:
    """Why a model is asked now: "first in the chain", "repeated after timeout (2nd time)", "fallback (...) after ...".

    When a model before it in the chain was not asked, what stands in the way of the first of those that cannot be.
    """
    if prospect.asked:
        before = chain.tried(prospect.model)[-1]
        return f"repeated after {before.error} ({ordinal(prospect.asked + 1)} time)"
    if (failed := chain.last_failure) is not None:
        return _fallback(failed)[0]
    place = chain.job.chain.index(prospect.model)
    if place == 0:
        return "first in the chain"
    obstacles = explain_blocked(chain, now)
    told = next((f"; {alias}: {obstacles[alias]}" for alias in chain.job.chain[:place] if alias in obstacles), "")
    return f"{ordinal(place + 1)} in the chain{told}"


def explain_handoff(chain: ChainState, here: str, now: float) -> tuple[str, Fallback | None]:
    """Why a job is not asked of the model in whose queue it is, and the kind of fallback that this makes.

    The failure that just ended, else what keeps everybody from that model, else its failure before.
    """
    failed, blocked = chain.last_failure, chain.blocked(here, now)
    failed_here = failed if failed is not None and failed.model == here else None
    if failed_here is not None and (blocked is None or failed_here.ended_at >= now):
        return _fallback(failed_here)
    if here not in chain.catalog.models:
        return f"{here}: {chain.forbidden(here)}", Fallback.UNAVAILABLE
    if (forbidden := chain.forbidden(here)) is not None:
        return f"{here}: {forbidden}", Fallback.POLICY
    if blocked is not None:
        return f"{here}: {blocked.detail}", DISPOSITIONS[OBSTACLE_ERRORS[blocked.obstacle]].fallback
    if here not in chain.job.chain:
        return f"{here}: not in its chain", None
    if (obstacle := explain_blocked(chain, now).get(here)) is not None:
        return f"{here}: {obstacle}", None
    return f"{here}: late, and another model is idle", Fallback.OVERLOAD


def explain_retry(prospect: Candidate, failed: Attempt) -> str:
    """Why a job waits for the model that has just failed."""
    return f"{prospect.model} is repeated after {failed.error} ({ordinal(prospect.asked + 1)} time)"


def explain_blocked(chain: ChainState, now: float) -> dict[str, str]:
    """What stands in the way of each model of a chain that cannot be asked now."""
    prospects = {one.model: one for one in chain.prospects(now)}
    told = ((alias, _obstacle(chain, alias, prospects.get(alias), now)) for alias in chain.job.chain)
    return {alias: words for alias, words in told if words is not None}


def _obstacle(chain: ChainState, alias: str, prospect: Candidate | None, now: float) -> str | None:
    if (forbidden := chain.forbidden(alias)) is not None:
        return forbidden
    if prospect is None:
        return _exhausted(chain.tried(alias))
    if prospect.due <= now:
        return None
    if prospect.blocked is not None:
        return prospect.blocked.detail
    if not prospect.asked:
        return "kept for jobs that are late"
    return f"{chain.tried(alias)[-1].error}, to be asked again in {prospect.due - now:.0f} s at the earliest"


def _exhausted(tried: list[Attempt]) -> str:
    often = f", asked {len(tried)} times" if len(tried) > 1 else ""
    return f"{tried[-1].error or 'answered'}{often}"


def _fallback(failed: Attempt) -> tuple[str, Fallback | None]:
    kind = failed.disposition.fallback if failed.disposition else None
    return f"fallback ({kind}) after {failed.model}: {failed.error}", kind
