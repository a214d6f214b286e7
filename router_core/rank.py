"""In which order the models of a chain are tried for one job, each with its reason. See DESIGN.md for the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from router_core.catalog import Cloud, Order, UrgencyPolicy
from router_core.fleet import Fleet, ModelState
from router_core.job import Candidate, Urgency
from router_core.needs import NOTHING, Needs, left_aside
from router_core.roster import Member

ASSUMED_LATENCY = 5.0
"""Seconds that a call is taken to last where none was measured."""
WAIT_WEIGHT, PRICE_WEIGHT = 0.5, 0.2
"""What a start that never comes, and a price beyond all measure, take from a quality of 0..1 in background."""
USUAL_PRICE = 10.0
"""US dollars for a million tokens in and out at which half of `PRICE_WEIGHT` is taken."""


# What follows is made anew for each job or each of its models, and is not frozen: that alone would cost a tenth of a
# route.


@dataclass(slots=True, kw_only=True)
class Occasion:
    """What the order of a chain depends on beside the models. `place` is where the chain stands (`role ace`; empty for
    a model by itself), for people. `now` is a moment (epoch seconds, server clock)."""

    urgency: Urgency
    policy: UrgencyPolicy
    order: Order = Order.AS_WRITTEN
    task: str | None = None
    place: str = ""
    needs: Needs = NOTHING
    now: float = 0.0


@dataclass(slots=True)
class Standing:
    """Where a model stands on one occasion. `number` is its place in the chain as it is written, from 1; `start` is
    seconds until it could begin; `until` the end of what blocks it, where that counts. Grade 0 comes first; `away`:
    behind the local models until the job is late."""

    number: int
    alias: str
    member: Member
    state: ModelState
    start: float
    quality: float
    grade: int
    until: float
    away: bool
    set_back: bool = False

    @property
    def trouble(self) -> str:
        """Why it is not of grade 0; empty when it is."""
        if self.grade == 0:
            return ""
        return self.state.blocked.detail if self.state.blocked else f"it could start in about {self.start:.0f} s"


Entry = tuple[int, str, Member]
"""A model of a chain: its number in it as it is written, from 1, and its alias."""


def rank(entries: Sequence[Entry], fleet: Fleet, occasion: Occasion) -> list[Standing]:
    """The models of a chain in the order in which the job tries them: all of them, once.

    1. Where jobs of the urgency leave the local pools only when late, local models come first.
    2. By grade. Interactive: what can start in time; what can start; what is blocked, the soonest to be free first.
       Background and batch: what is not blocked for longer than the time in which it should start; the rest.
    3. As written; or by urgency: see `_quick`, `_balanced` and `_best`.
    """
    near = occasion.policy.cloud is Cloud.IF_LATE and any(member.local for _, _, member in entries)
    standings = [_standing(entry, fleet.model(entry[1]), occasion, near) for entry in entries]
    standings.sort(key=_written if occasion.order is Order.AS_WRITTEN else _by_urgency(occasion))
    least = standings[0].grade
    for one in standings:
        one.set_back = one.away or one.grade > least
    return standings


def candidate(one: Standing, occasion: Occasion) -> Candidate:
    """The model with the reason why it stands where it stands."""
    if one.away:
        reason = f"behind the local models: {occasion.urgency} jobs go further only when late"
    elif one.set_back:
        reason = f"moved back: {one.trouble}"
    else:
        place = _placed(one.number, occasion.place) if occasion.place else "asked for by its name"
        reason = ", ".join([place, *facts(one, occasion)])
        if one.grade:
            reason = f"{reason}; {one.trouble}"
    if occasion.needs.sampling and (told := left_aside(one.member.spec, occasion.needs)):
        reason = f"{reason}; {told}"
    return _candidate(one.alias, reason)


def facts(one: Standing, occasion: Occasion) -> list[str]:
    """What spoke for or against a model, in a few words each."""
    state, member = one.state, one.member
    told = [] if state.loaded is None else ["loaded" if state.loaded else "not loaded"]
    if occasion.order is Order.AS_WRITTEN:
        return told
    if member.spec.quality:
        told.append(_score(one.quality, occasion.task or "any task"))
    if occasion.urgency is Urgency.INTERACTIVE:
        if state.latency is not None:
            told.append(f"answers in {state.latency:.2g} s")
    elif member.price:
        told.append(_dollars(member.price))
    return told


def _standing(entry: Entry, state: ModelState, occasion: Occasion, near: bool) -> Standing:
    number, alias, member = entry
    blocked, within = state.blocked, occasion.policy.start_within
    start = member.load_s if state.loaded is False else 0.0
    if state.waiting:
        start += _turn(member, state)
    grade, until = 0, 0.0
    if occasion.urgency is Urgency.INTERACTIVE:
        grade, until = (2, blocked.until) if blocked else (int(start > within), 0.0)
    elif blocked and blocked.until - occasion.now > within:
        grade, until = 1, blocked.until
    quality = member.spec.quality.get(occasion.task or "", member.quality)
    return Standing(number, alias, member, state, start, quality, grade, until, near and not member.local)


def _turn(member: Member, state: ModelState) -> float:
    """Seconds until those that wait are served. The first of them has waited `oldest`: the last is hardly sooner."""
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    turn = state.waiting / member.slots * latency
    return turn if turn > state.oldest else state.oldest


Key = tuple[float, ...]
"""What models are sorted by, the smallest first."""


def _written(one: Standing) -> Key:
    return (one.away, one.grade, one.until, one.number)


def _by_urgency(occasion: Occasion) -> Callable[[Standing], Key]:
    if occasion.urgency is Urgency.INTERACTIVE:
        return _quick
    return _best if occasion.urgency is Urgency.BATCH else _balanced(occasion.policy.start_within, occasion.now)


def _quick(one: Standing) -> Key:
    """Interactive: what is loaded, then by steps of latency (each twice the one before), then by quality."""
    state = one.state
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    slow = int(latency).bit_length()
    return (one.away, one.grade, one.until, state.loaded is False, slow, -one.quality, one.number)


def _best(one: Standing) -> Key:
    """Batch: by quality, then by price, an unknown one last."""
    price = one.member.price
    return (one.away, one.grade, one.until, -one.quality, price is None, price or 0.0, one.number)


def _balanced(within: float, now: float) -> Callable[[Standing], Key]:
    """Background: quality, less a share of `WAIT_WEIGHT` for the wait and of `PRICE_WEIGHT` for the price. The share is
    half at a wait of `start_within` and at a price of `USUAL_PRICE`, and whole for an unknown price."""

    def key(one: Standing) -> Key:
        price, blocked, wait = one.member.price, one.state.blocked, one.start
        if blocked and blocked.until - now > wait:
            wait = blocked.until - now
        dear = 1.0 if price is None else price / (price + USUAL_PRICE)
        less = PRICE_WEIGHT * dear + WAIT_WEIGHT * (1 - within / (within + wait))
        return (one.away, one.grade, one.until, less - one.quality, one.number)

    return key


# The words below come again with every job, and making them takes longer than finding them.


@lru_cache(maxsize=4096)
def _candidate(model: str, reason: str) -> Candidate:
    return Candidate(model=model, reason=reason)


@lru_cache(maxsize=1024)
def _score(quality: float, task: str) -> str:
    return f"{quality:g} for {task}"


@lru_cache(maxsize=1024)
def _dollars(price: float) -> str:
    return f"${price:g} per Mtok"


@lru_cache(maxsize=1024)
def _placed(number: int, place: str) -> str:
    return f"{_ordinal(number)} in {place}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
