"""The time limits of one call: what its model and its urgency say, and what the successors of the call leave of it."""

from __future__ import annotations

from openfall.router_core.deciding.candidates import ChainState, ready
from openfall.router_core.deciding.reply_deadline import reply_by, reserve, successors_outside
from openfall.router_core.jobs.stream_time_limits import StreamLimits
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.vocabulary import JobKind

ASSUMED_LOAD_SECONDS = 60.0
"""The longest load of a model without a `load_time`."""

TOOL_CALL_FACTOR = 2.0
"""The limits for the first token and for a stall are multiplied by this for a request with tools: a server may keep a
tool call back until it is whole (Ollama does, Anthropic keeps back each of its values)."""


def call_limits(chain: ChainState, model: str, now: float) -> tuple[float, StreamLimits | None]:
    """The timeout of a call of a model now, and its limits that need a stream (None: it needs none).

    A call may use what its successors do not need: the other models that are due, a default fallback, Open Fall. Each
    of them keeps a reserve.
    """
    job, policy, spec = chain.job, chain.policy, chain.catalog.models[model]
    timeout = chain.catalog.call_timeout(model, job.urgency)
    longest = _longest_call(chain, model, timeout, now)
    if job.kind is JobKind.EMBEDDING:  # nothing of it arrives before the whole
        return min(timeout + _load_seconds(chain, model), longest), None
    first = spec.first_token_timeout or policy.first_token_timeout
    stall = spec.stall_timeout or policy.stall_timeout
    factor = TOOL_CALL_FACTOR if job.body.get("tools") else 1.0
    first, stall = first and first * factor, stall and stall * factor
    start = _latest_start(chain, model, (first or FOREVER) + (stall or 0.0), now)
    timeout = min(timeout, longest)
    if first is None and stall is None and start is None:
        return timeout, None
    soonest = min(first or FOREVER, start or FOREVER)
    limits = StreamLimits(
        first_token=soonest if soonest < FOREVER else None,
        stall=stall,
        start=start,
        load=_load_seconds(chain, model),
        first_token_after_load=first or timeout,
        longest=longest,
    )
    return timeout, limits


def _longest_call(chain: ChainState, model: str, timeout: float, now: float) -> float:
    """The seconds that the deadline leaves a call."""
    left, share = chain.job.deadline - now, reserve(chain.job.deadline - chain.job.accepted_at)
    if (most := left - share * _most_successors(chain)) >= timeout:
        return most
    return max(left - share * _successors(chain, model, now), min(share, left))


def _latest_start(chain: ChainState, model: str, enough: float, now: float) -> float | None:
    """The seconds until an answer must have begun, so that its caller has a reply in time. None: no limit; more than
    `enough` is never needed."""
    if (moment := reply_by(chain)) is None:
        return None
    left, share = moment - now, reserve(chain.policy.reply_within)
    if (most := left - share * _most_successors(chain)) >= enough:
        return most
    least = min(share, left - share * successors_outside(chain)) if chain.attempts else share
    return max(left - share * _successors(chain, model, now), least)


def _successors(chain: ChainState, model: str, now: float) -> int:
    """How many may have to follow this call: the other models that are due, and those outside the chain."""
    others = sum(candidate.model != model for candidate in ready(chain.candidates(now), now))
    return others + successors_outside(chain)


def _most_successors(chain: ChainState) -> int:
    return len(chain.job.chain) + successors_outside(chain)


def _load_seconds(chain: ChainState, model: str) -> float:
    """The longest load of a model, if one of its backends loads models by itself."""
    spec, backends = chain.catalog.models[model], chain.catalog.backends
    if spec.passed_on or not any(backends[name].loads_models for name in spec.backends):
        return 0.0
    return ASSUMED_LOAD_SECONDS if spec.load_time is None else spec.load_time
