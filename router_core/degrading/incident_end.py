"""When an incident is over. The script incident_close applies the conditions, on the jobs and counts of one moment."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import (
    FLAT_PLAN,
    MONEY_REASONS,
    RELEASED_BY_ITSELF,
    BlockReason,
    HoldReason,
    Urgency,
)

QUIET_SECONDS = 10.0
"""Seconds since the last fall before an incident is over."""

MONEY_QUIET_SECONDS = 600.0
"""Seconds since an incident of money was last observed before it is over."""

FLAT_PLAN_QUIET_SECONDS = 60.0
"""Seconds since a flat plan was last out before its incident is over: it may be called only now and then."""

SET_BY_OPERATOR = frozenset({BlockReason.PAUSED, BlockReason.LOCAL_ONLY})
"""Blocks that an operator has set. They do not keep an outage open."""

_QUIET = {FLAT_PLAN: FLAT_PLAN_QUIET_SECONDS, **dict.fromkeys(MONEY_REASONS, MONEY_QUIET_SECONDS)}
"""The quiet times of incidents that are no falls of jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndConditions:
    """What must be so before an incident is over. All of them:

    - For `quiet_seconds` no job fell for its reason, and no worker observed it.
    - `of_jobs`: no job waits or is claimed in `degrade`, and one of these is so. A job that had fallen was answered
      since the last fall (`ends_with_answer`: the held jobs follow). Or no job is held for it that a model will release
      (`releases_itself`; else no job at all), and no released job is on its way.
    - `needs_served_chains`: `has_unserved_chain` is False.

    `sends_notice`: its end is sent to each notifier to which its beginning was sent.
    """

    quiet_seconds: float
    of_jobs: bool
    ends_with_answer: bool
    releases_itself: bool
    needs_served_chains: bool
    sends_notice: bool


def end_conditions(reason: str) -> EndConditions:
    """The conditions for the incident of a reason: of a kind of fall, a flat plan, or money."""
    is_outage = reason == HoldReason.OUTAGE
    return EndConditions(
        quiet_seconds=_QUIET.get(reason, QUIET_SECONDS),
        of_jobs=reason not in _QUIET,
        ends_with_answer=is_outage,
        releases_itself=reason in RELEASED_BY_ITSELF,
        needs_served_chains=is_outage,
        sends_notice=is_outage or reason == FLAT_PLAN,
    )


def has_unserved_chain(
    chains: Iterable[str], urgencies: Container[str], fleet: Mapping[Urgency, FleetState], models: Container[str]
) -> bool:
    """Whether no model of a chain that fell takes calls, for one of the urgencies that fell; if none is known, for any.

    A chain is its models in a comma list. Only those in `models`, the catalog, count.
    """
    fell = [state for urgency, state in fleet.items() if urgency in urgencies] or list(fleet.values())
    known = [[alias for alias in chain.split(",") if alias in models] for chain in chains]
    return any(_is_unserved(chain, state) for chain in known for state in fell)


def _is_unserved(chain: Iterable[str], fleet: FleetState) -> bool:
    """A model that an operator blocks does not count."""
    blocks = [fleet.model(model).blocked for model in chain]
    counted = [block for block in blocks if block is None or block.reason not in SET_BY_OPERATOR]
    return bool(counted) and None not in counted
