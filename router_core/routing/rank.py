"""The order of a chain's models for one job, each with its reason. docs/decisions.md has the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from openfall.router_core.catalog.model_index import IndexedModel
from openfall.router_core.catalog.urgency_policy import Cloud, Order, UrgencyPolicy
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.routing.fleet_state import FOREVER, FleetState, ModelState
from openfall.router_core.routing.requirements import NOTHING, Requirements, ignored_parameters
from openfall.router_core.vocabulary import Urgency

ASSUMED_LATENCY = 5.0
"""Seconds. The assumed latency of a model without measurements."""
WAIT_WEIGHT, PRICE_WEIGHT = 0.5, 0.2
"""The most that a long wait, and a high price, can subtract from a quality of 0..1 in background."""
USUAL_PRICE = 10.0
"""US dollars for a million tokens in and out. At this price half of `PRICE_WEIGHT` is subtracted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankContext:
    """What the order of a chain depends on beside the models. `place` is where the chain stands (`role ace`; empty for
    a single model), for people. `now` is a moment (epoch seconds, server clock)."""

    urgency: Urgency
    policy: UrgencyPolicy
    order: Order = Order.AS_WRITTEN
    task: str | None = None
    place: str = ""
    needs: Requirements = NOTHING
    now: float = 0.0


@dataclass(slots=True)
class RankedModel:
    """A model with its rank. `number` is its position in the configured chain, from 1. `start` is seconds until it
    could start. `until` is the end of its block, where that matters. Tier 0 comes first. `after_local`: behind the
    local models until the job is late, or while it is `scarce`: its subscription is nearly used up. `demoted`: behind
    its position in the chain."""

    number: int
    alias: str
    member: IndexedModel
    state: ModelState
    start: float
    quality: float
    tier: int
    until: float
    after_local: bool
    scarce: bool
    demoted: bool = False
    load_wait: float = 0.0
    """The part of `start` in which it is loaded."""

    @property
    def trouble(self) -> str:
        """Why it cannot start at once; empty: that does not matter. Tier 0 may contain a short block too. An estimate
        names what it rests on."""
        if self.state.blocked:
            return self.state.blocked.detail
        if self.state.limited:
            return self.state.limited.detail
        if self.start == FOREVER:
            return "the manager of its card names no time for its load"
        if self.tier == 0:
            return ""
        waiting = self.state.waiting
        jobs = f"{waiting} waiting {'job' if waiting == 1 else 'jobs'}" if waiting else ""
        rest = " and ".join(filter(None, ("its load" if self.load_wait else "", jobs)))
        return f"about {self.start:.0f} s for {rest}"


Entry = tuple[int, str, IndexedModel]
"""A model of a chain: its position in the configured chain, from 1, its alias, and its index entry."""


def rank(entries: Sequence[Entry], fleet: FleetState, context: RankContext) -> list[RankedModel]:
    """The models of a chain in the order in which the job calls them: all of them, once.

    1. Where jobs of the urgency leave the local pools only when late, local models come first.
    2. By tier. Interactive: models that can start in time; models that can start; blocked models, the first to be free
       first. As written, the time to load a model does not count: else it would never be loaded. Background and batch:
       models without an outage, that are blocked for no longer than `start_within`, and that can be loaded; the rest.
    3. As written; or by urgency: see `_by_latency`, `_balanced` and `_by_quality`.
    """
    has_local = any(member.local for _, _, member in entries)
    local_first = context.policy.allow_cloud is Cloud.WHEN_LATE and has_local
    scarce = fleet.scarce if has_local and context.urgency is not Urgency.INTERACTIVE else frozenset()
    ranked = [
        _rank_model(entry, fleet.model(entry[1]), context, local_first, scarce=entry[1] in scarce) for entry in entries
    ]
    ranked.sort(key=_written if context.order is Order.AS_WRITTEN else _by_urgency(context))
    first_tier = ranked[0].tier
    if local_first or scarce or ranked[-1].tier > first_tier:
        for model in ranked:
            model.demoted = model.after_local or model.tier > first_tier
    return ranked


def considered_model(model: RankedModel, context: RankContext) -> ConsideredModel:
    """The model with the reason of its rank."""
    aside = ignored_parameters(model.member.spec, context.needs) if context.needs.sampling else ""
    if model.scarce:
        reason = "behind the local models: its subscription is nearly used up"
    elif model.after_local:
        reason = f"behind the local models: {context.urgency} jobs may leave the local pools only when late"
    elif model.demoted:
        reason = f"moved back: {model.trouble}"
    elif not model.trouble and not aside:
        return _plain(model.alias, model.number, context.place, _known(model, context))
    else:
        reason = _plain(model.alias, model.number, context.place, _known(model, context)).reason
        reason = f"{reason}; {model.trouble}" if model.trouble else reason
    return _considered(model.alias, f"{reason}; {aside}" if aside else reason)


def facts(model: RankedModel, context: RankContext) -> list[str]:
    """The facts for and against a model, in a few words each."""
    return _words(_known(model, context))


Known = tuple[bool | None, float | None, str, float | None, int | None]
"""The facts of a model: whether it is loaded, its quality, for which task, its price, its latency step."""


def _known(model: RankedModel, context: RankContext) -> Known:
    if context.order is Order.AS_WRITTEN:
        return (model.state.loaded, None, "", None, None)
    quality, task = model.quality if model.member.spec.quality else None, context.task or "any task"
    if context.urgency is not Urgency.INTERACTIVE:
        return (model.state.loaded, quality, task, model.member.price, None)
    step = None if model.state.latency is None else _step(model.state.latency)
    return (model.state.loaded, quality, task, None, step)


def _words(known: Known) -> list[str]:
    loaded, quality, task, price, step = known
    words = [] if loaded is None else ["loaded" if loaded else "not loaded"]
    if quality is not None:
        words.append(f"{quality:g} for {task}")
    if price:
        words.append(f"${price:g} per Mtok")
    if step is not None:
        words.append(f"answers within {1 << step} s")
    return words


@lru_cache(maxsize=4096)
def _plain(model: str, number: int, place: str, known: Known) -> ConsideredModel:
    stands = f"{ordinal(number)} in {place}" if place else "requested by name"
    return ConsideredModel(model=model, reason=", ".join([stands, *_words(known)]))


@lru_cache(maxsize=4096)
def _considered(model: str, reason: str) -> ConsideredModel:
    return ConsideredModel(model=model, reason=reason)


def _rank_model(
    entry: Entry, state: ModelState, context: RankContext, local_first: bool, *, scarce: bool
) -> RankedModel:
    number, alias, member = entry
    blocked, start_within = state.blocked, context.policy.start_within
    start = load_wait = _load_wait(member, state, context.order)
    if state.waiting or state.limited:
        start += _queue_wait(member, state, context.now)
    tier, until = 0, 0.0
    if context.urgency is Urgency.INTERACTIVE:
        tier, until = (2, blocked.until) if blocked else (int(start > start_within), 0.0)
    elif blocked and blocked.until - context.now > (0.0 if blocked.is_outage else start_within):
        tier, until = 1, blocked.until
    elif start == FOREVER:
        tier = 1
    after_local, quality = scarce or (local_first and not member.local), member.quality_for(context.task)
    return RankedModel(
        number, alias, member, state, start, quality, tier, until, after_local, scarce, load_wait=load_wait
    )


def _load_wait(member: IndexedModel, state: ModelState, order: Order) -> float:
    """Seconds until the model is in memory. As written they do not count, but for a model that cannot be loaded."""
    seconds = (member.load_time if state.loaded is False else 0.0) if state.starts_in is None else state.starts_in
    return seconds if order is Order.BY_URGENCY or seconds == FOREVER else 0.0


def _queue_wait(member: IndexedModel, state: ModelState, now: float) -> float:
    """Seconds until the waiting jobs are served: computed from the pace of the slots or of a limit, or the wait of the
    oldest job; the longest of them."""
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    limited = max(0.0, state.limited.until - now) if state.limited else 0.0
    return max(state.waiting / member.slots * latency, state.oldest, limited + state.waiting * state.seconds_per_call)


Key = tuple[float, ...]
"""A sort key: the smallest first."""


def _written(model: RankedModel) -> Key:
    return (model.after_local, model.tier, model.until, model.number)


def _by_urgency(context: RankContext) -> Callable[[RankedModel], Key]:
    if context.urgency is Urgency.INTERACTIVE:
        return _by_latency
    return _by_quality if context.urgency is Urgency.BATCH else _balanced(context.policy.start_within, context.now)


def _by_latency(model: RankedModel) -> Key:
    """Interactive: loaded models first, then by latency step, then by quality. Of models that cannot start in time, the
    one that can start first."""
    state = model.state
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    loading = state.loaded is False
    start = model.start if model.tier == 1 else 0.0
    return (model.after_local, model.tier, model.until, start, loading, _step(latency), -model.quality, model.number)


def _by_quality(model: RankedModel) -> Key:
    """Batch: by quality, then by price, an unknown price last. Among equals the one that can start first."""
    price, tier = model.member.price, (model.after_local, model.tier, model.until)
    return (*tier, -model.quality, price is None, price or 0.0, model.start, model.number)


def _balanced(start_within: float, now: float) -> Callable[[RankedModel], Key]:
    """Background: quality minus a part of `WAIT_WEIGHT` for the wait and of `PRICE_WEIGHT` for the price. The part is
    half at a wait of `start_within` and at a price of `USUAL_PRICE`, and whole for an unknown price."""

    def key(model: RankedModel) -> Key:
        price, blocked, wait = model.member.price, model.state.blocked, model.start
        if blocked and blocked.until - now > wait:
            wait = blocked.until - now
        price_penalty = 1.0 if price is None else price / (price + USUAL_PRICE)
        penalty = PRICE_WEIGHT * price_penalty + WAIT_WEIGHT * (1 - start_within / (start_within + wait))
        return (model.after_local, model.tier, model.until, penalty - model.quality, model.number)

    return key


def _step(latency: float) -> int:
    """The latency as a step, each twice as long as the step before: 0 below 1 s, 1 below 2 s, 2 below 4 s."""
    return int(latency).bit_length()


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ... 11th ... 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
