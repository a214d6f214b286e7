"""How a job is held: its reason, the models that release it, and its strikes. docs/decisions.md has the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from openfall.router_core.catalog.budget_scope import is_counted
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.degrading.judged_fall import JudgedFall
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason, Remedy

MAX_STRIKES = 3
"""A released job that falls this often while a model of its chain takes calls is held for its own fault."""

PAUSE_SECONDS = 5.0
"""The wait before the release of a job that fell while a model of its chain took calls. It doubles with each strike, to
20 s at most: the third one holds the job for its own fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Park the job, and notify its caller at once. `reply` is the interim reply (None: no text), `by` its source.
    `models` can release it, none before `ready_at` (epoch seconds, 0: at once). From `late_at` on, but not before
    `ready_at`, `late_models` can release it too: `allow_cloud: when_late` keeps them for late jobs. `keep_until` is its
    deadline from now on (0: its own, because its caller set it).
    """

    reason: HoldReason
    detail: str
    by: Remedy | None = None
    reply: Completion | None = None
    models: tuple[str, ...] = ()
    ready_at: float = 0.0
    late_models: tuple[str, ...] = ()
    late_at: float = 0.0
    strikes: int = 0
    keep_until: float = 0.0


def hold(judged: JudgedFall) -> Hold:
    """The hold of a job that fell. After `MAX_STRIKES`, or if its answers failed their checks again, it is held for its
    own fault."""
    fall, now = judged.fall, judged.now
    hold_for = judged.chain.catalog.open_fall.hold_for
    keep_until = 0.0 if fall.has_deadline else max(judged.chain.job.deadline, now + hold_for)
    reason, detail, strikes = fall.reason, fall.detail, fall.strikes
    releasing = tuple(_releasing_models(judged.chain)) if reason in RELEASED_BY_ITSELF else ()
    late_models = judged.chain.kept_for_late(releasing, now)
    models = tuple(alias for alias in releasing if alias not in late_models)
    available = [alias for alias in models if not judged.is_away(alias)]
    fell_before = fall.falls - len(judged.called_fallbacks) > 1
    if reason is HoldReason.OUTAGE and fell_before and judged.answers_failed_checks:
        detail = f"its answers failed their checks again; last: {detail}"
        return Hold(reason=HoldReason.OWN_FAULT, detail=detail, strikes=strikes, keep_until=keep_until)
    if reason is HoldReason.OUTAGE and fell_before and available:
        strikes += 1
        if strikes >= MAX_STRIKES:
            detail = f"fell {strikes} times while {available[0]} took calls; last: {detail}"
            return Hold(reason=HoldReason.OWN_FAULT, detail=detail, strikes=strikes, keep_until=keep_until)
    ready_at = now + PAUSE_SECONDS * 2 ** min(strikes, MAX_STRIKES - 1) if available else 0.0
    if fall.over is not None:  # a model that the budget does not count releases the job as soon as it takes calls
        free = {alias for alias in releasing if not is_counted(judged.chain.catalog, fall.over.name, alias)}
        if reason is HoldReason.BUDGET:
            ready_at = fall.over.until
        elif free:
            models, late_models = (tuple(alias for alias in part if alias in free) for part in (models, late_models))
    held = Hold(reason=reason, detail=detail, models=models, ready_at=ready_at, strikes=strikes, keep_until=keep_until)
    return replace(held, late_models=late_models, late_at=judged.chain.start_by) if late_models else held


def _releasing_models(chain: ChainState) -> Iterator[str]:
    """The models of a chain that its job may ever call, and that have not refused it. The local-only switch excludes
    none, for it ends."""
    ever = replace(chain, fleet=replace(chain.fleet, local_only=False))
    return (alias for alias in chain.job.chain if ever.forbidden(alias) is None and not ever.refused(alias))
