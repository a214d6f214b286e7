"""In which order the models of a chain are tried for one job, each with its reason. See DESIGN.md for the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from openfall.router_core.catalog.entries import Order
from openfall.router_core.catalog.index import IndexedModel
from openfall.router_core.catalog.policies import Cloud, UrgencyPolicy
from openfall.router_core.jobs.job import (
    ConsideredModel,
)
from openfall.router_core.routing.fleet_state import (
    FleetState,
    ModelState,
)
from openfall.router_core.routing.requirements import NOTHING, Requirements, ignored_parameters
from openfall.router_core.vocabulary import (
    Urgency,
)

ASSUMED_LATENCY = 5.0
"""Seconds that a call is taken to last where none was measured."""
WAIT_WEIGHT, PRICE_WEIGHT = 0.5, 0.2
"""What a start that never comes, and a price beyond all measure, take from a quality of 0..1 in background."""
USUAL_PRICE = 10.0
"""US dollars for a million tokens in and out at which half of `PRICE_WEIGHT` is taken."""

_INTERACTIVE, _AS_WRITTEN = Urgency.INTERACTIVE, Order.AS_WRITTEN
"""Asked after for each model: by their full names they would be a twentieth of the cost of a route."""

# What follows is made anew for each job or each of its models, and is not frozen: that alone would cost a tenth of a
# route.


@dataclass(slots=True, kw_only=True)
class RankContext:
    """What the order of a chain depends on beside the models. `place` is where the chain stands (`role ace`; empty for
    a model by itself), for people. `now` is a moment (epoch seconds, server clock)."""

    urgency: Urgency
    policy: UrgencyPolicy
    order: Order = Order.AS_WRITTEN
    task: str | None = None
    place: str = ""
    needs: Requirements = NOTHING
    now: float = 0.0


@dataclass(slots=True)
class RankedModel:
    """Where a model stands on one occasion. `number` is its place in the chain as it is written, from 1; `start` is
    seconds until it could begin; `until` the end of what blocks it, where that counts. Grade 0 comes first; `away`:
    behind the local models until the job is late."""

    number: int
    alias: str
    member: IndexedModel
    state: ModelState
    start: float
    quality: float
    grade: int
    until: float
    away: bool
    set_back: bool = False

    @property
    def trouble(self) -> str:
        """What it cannot start at once for; empty when that is no matter. A block may be waited for in grade 0 too."""
        if self.state.blocked:
            return self.state.blocked.detail
        return "" if self.grade == 0 else f"it could start in about {self.start:.0f} s"


Entry = tuple[int, str, IndexedModel]
"""A model of a chain: its number in it as it is written, from 1, and its alias."""


def rank(entries: Sequence[Entry], fleet: FleetState, occasion: RankContext) -> list[RankedModel]:
    """The models of a chain in the order in which the job tries them: all of them, once.

    1. Where jobs of the urgency leave the local pools only when late, local models come first.
    2. By grade. Interactive: what can start in time; what can start; what is blocked, the soonest to be free first.
       Background and batch: what is not blocked for longer than the time in which it should start; the rest.
    3. As written; or by urgency: see `_quick`, `_balanced` and `_best`.
    """
    near = occasion.policy.allow_cloud is Cloud.WHEN_LATE and any(member.local for _, _, member in entries)
    standings = [_standing(entry, fleet.model(entry[1]), occasion, near) for entry in entries]
    standings.sort(key=_written if occasion.order is _AS_WRITTEN else _by_urgency(occasion))
    least = standings[0].grade
    if near or standings[-1].grade > least:
        for one in standings:
            one.set_back = one.away or one.grade > least
    return standings


def candidate(one: RankedModel, occasion: RankContext) -> ConsideredModel:
    """The model with the reason why it stands where it stands."""
    aside = ignored_parameters(one.member.spec, occasion.needs) if occasion.needs.sampling else ""
    if one.away:
        reason = f"behind the local models: {occasion.urgency} jobs go further only when late"
    elif one.set_back:
        reason = f"moved back: {one.trouble}"
    elif not one.trouble and not aside:
        return _plain(one.alias, one.number, occasion.place, _known(one, occasion))
    else:
        reason = _plain(one.alias, one.number, occasion.place, _known(one, occasion)).reason
        reason = f"{reason}; {one.trouble}" if one.trouble else reason
    return _candidate(one.alias, f"{reason}; {aside}" if aside else reason)


def facts(one: RankedModel, occasion: RankContext) -> list[str]:
    """What spoke for or against a model, in a few words each."""
    return _words(_known(one, occasion))


Known = tuple[bool | None, float | None, str, float | None, int | None]
"""What is told of a model: whether it is loaded, its quality, for which task, its price, its step of latency."""


def _known(one: RankedModel, occasion: RankContext) -> Known:
    if occasion.order is _AS_WRITTEN:
        return (one.state.loaded, None, "", None, None)
    quality, task = one.quality if one.member.spec.quality else None, occasion.task or "any task"
    if occasion.urgency is not _INTERACTIVE:
        return (one.state.loaded, quality, task, one.member.price, None)
    return (one.state.loaded, quality, task, None, None if one.state.latency is None else _step(one.state.latency))


def _words(known: Known) -> list[str]:
    loaded, quality, task, price, step = known
    told = [] if loaded is None else ["loaded" if loaded else "not loaded"]
    if quality is not None:
        told.append(f"{quality:g} for {task}")
    if price:
        told.append(f"${price:g} per Mtok")
    if step is not None:
        told.append(f"answers within {1 << step} s")
    return told


# The same reasons come again with every job, and making them takes longer than finding them.


@lru_cache(maxsize=4096)
def _plain(model: str, number: int, place: str, known: Known) -> ConsideredModel:
    stands = f"{ordinal(number)} in {place}" if place else "asked for by its name"
    return ConsideredModel(model=model, reason=", ".join([stands, *_words(known)]))


@lru_cache(maxsize=4096)
def _candidate(model: str, reason: str) -> ConsideredModel:
    return ConsideredModel(model=model, reason=reason)


def _standing(entry: Entry, state: ModelState, occasion: RankContext, near: bool) -> RankedModel:
    number, alias, member = entry
    blocked, within = state.blocked, occasion.policy.start_within
    start = member.load_time if state.loaded is False else 0.0
    if state.waiting:
        start += _turn(member, state)
    grade, until = 0, 0.0
    if occasion.urgency is _INTERACTIVE:
        grade, until = (2, blocked.until) if blocked else (int(start > within), 0.0)
    elif blocked and blocked.until - occasion.now > within:
        grade, until = 1, blocked.until
    quality = member.spec.quality.get(occasion.task or "", member.quality)
    return RankedModel(number, alias, member, state, start, quality, grade, until, near and not member.local)


def _turn(member: IndexedModel, state: ModelState) -> float:
    """Seconds until those that wait are served. The first of them has waited `oldest`: the last is hardly sooner."""
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    turn = state.waiting / member.slots * latency
    return turn if turn > state.oldest else state.oldest


Key = tuple[float, ...]
"""What models are sorted by, the smallest first."""


def _written(one: RankedModel) -> Key:
    return (one.away, one.grade, one.until, one.number)


def _by_urgency(occasion: RankContext) -> Callable[[RankedModel], Key]:
    if occasion.urgency is _INTERACTIVE:
        return _quick
    return _best if occasion.urgency is Urgency.BATCH else _balanced(occasion.policy.start_within, occasion.now)


def _quick(one: RankedModel) -> Key:
    """Interactive: what is loaded, then by steps of latency, then by quality."""
    state = one.state
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    return (one.away, one.grade, one.until, state.loaded is False, _step(latency), -one.quality, one.number)


def _best(one: RankedModel) -> Key:
    """Batch: by quality, then by price, an unknown one last."""
    price = one.member.price
    return (one.away, one.grade, one.until, -one.quality, price is None, price or 0.0, one.number)


def _balanced(within: float, now: float) -> Callable[[RankedModel], Key]:
    """Background: quality, less a share of `WAIT_WEIGHT` for the wait and of `PRICE_WEIGHT` for the price. The share is
    half at a wait of `start_within` and at a price of `USUAL_PRICE`, and whole for an unknown price."""

    def key(one: RankedModel) -> Key:
        price, blocked, wait = one.member.price, one.state.blocked, one.start
        if blocked and blocked.until - now > wait:
            wait = blocked.until - now
        dear = 1.0 if price is None else price / (price + USUAL_PRICE)
        less = PRICE_WEIGHT * dear + WAIT_WEIGHT * (1 - within / (within + wait))
        return (one.away, one.grade, one.until, less - one.quality, one.number)

    return key


def _step(latency: float) -> int:
    """Latencies in steps, each twice as long as the one before: 0 below a second, 1 below two, 2 below four."""
    return int(latency).bit_length()


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ... 11th ... 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
