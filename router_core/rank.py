"""In which order the models of a chain are tried for one job, each with its reason. See DESIGN.md for the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router_core.catalog import Billing, Catalog, Cloud, ModelSpec, Order, UrgencyPolicy
from router_core.fleet import Blocked, Fleet, ModelState
from router_core.job import Candidate, Urgency
from router_core.needs import NOTHING, Needs, left_aside

ASSUMED_LATENCY = 5.0
"""Seconds that a call is taken to last where none was measured."""
NO_SCORE = 0.5
"""The quality of a model that has no score for the task, and none by default."""
WAIT_WEIGHT, PRICE_WEIGHT = 0.5, 0.2
"""What a start that never comes, and a price beyond all measure, take from a quality of 0..1 in background."""
USUAL_PRICE = 10.0
"""US dollars for a million tokens in and out at which half of `PRICE_WEIGHT` is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What the order of a chain depends on beside the models. `place` is where the chain stands (`role ace`;
    empty for a model by itself), for people. `now` is a moment (epoch seconds, server clock)."""

    urgency: Urgency
    policy: UrgencyPolicy
    order: Order = Order.AS_WRITTEN
    task: str | None = None
    place: str = ""
    needs: Needs = NOTHING
    now: float = 0.0


@dataclass(slots=True)
class Standing:
    """One model on one occasion. `number` is its place in the chain as it is written, from 1; `start` the seconds until
    it could begin; `price` US dollars for a million tokens in and out, None: unknown. `grade` 0 comes first; `away`: it
    comes behind the local ones until the job is late."""

    alias: str
    number: int
    spec: ModelSpec
    state: ModelState
    local: bool
    start: float
    quality: float
    price: float | None
    grade: int
    away: bool = False
    set_back: bool = False

    @property
    def trouble(self) -> str:
        """Why it is not of grade 0; empty when it is."""
        if self.grade == 0:
            return ""
        return self.state.blocked.detail if self.state.blocked else f"it could start in about {self.start:.0f} s"


def rank(catalog: Catalog, fleet: Fleet, chain: Mapping[str, int], occasion: Occasion) -> list[Standing]:
    """The models of a chain (alias -> number in it) in the order in which the job tries them: all of them, once.

    1. Where jobs of the urgency leave the local pools only when late, local models come first.
    2. By grade. Interactive: what can start in time; what can start; what is blocked, the soonest to be free first.
       Background and batch: what is not blocked for longer than the time in which it should start; the rest.
    3. As written; or by urgency: see `_merit`.
    """
    standings = [_standing(catalog, fleet.model(alias), (alias, number), occasion) for alias, number in chain.items()]
    if occasion.policy.cloud is Cloud.IF_LATE and any(one.local for one in standings):
        for one in standings:
            one.away = not one.local
    standings.sort(key=lambda one: (one.away, one.grade, _until(one), _merit(one, occasion)))
    for one in standings:
        one.set_back = one.grade > standings[0].grade or one.away
    return standings


def candidate(one: Standing, occasion: Occasion) -> Candidate:
    """The model with the reason why it stands where it stands."""
    if one.away:
        parts = [f"behind the local models: {occasion.urgency} jobs go further only when late"]
    elif one.set_back:
        parts = [f"moved back: {one.trouble}"]
    else:
        parts = [", ".join(_place(one, occasion) + facts(one, occasion))]
        if one.trouble:
            parts.append(one.trouble)
    if told := left_aside(one.spec, occasion.needs):
        parts.append(told)
    return Candidate(model=one.alias, reason="; ".join(parts))


def facts(one: Standing, occasion: Occasion) -> list[str]:
    """What spoke for or against a model, in a few words each."""
    told = [] if one.state.loaded is None else ["loaded" if one.state.loaded else "not loaded"]
    if occasion.order is Order.AS_WRITTEN:
        return told
    if one.spec.quality:
        told.append(f"{one.quality:g} for {occasion.task or 'any task'}")
    if occasion.urgency is Urgency.INTERACTIVE:
        return told if one.state.latency is None else [*told, f"answers in {one.state.latency:.2g} s"]
    if one.price:
        told.append(f"${one.price:g} per Mtok")
    return told


def _place(one: Standing, occasion: Occasion) -> list[str]:
    return [f"{_ordinal(one.number)} in {occasion.place}"] if occasion.place else ["asked for by its name"]


def _standing(catalog: Catalog, state: ModelState, named: tuple[str, int], occasion: Occasion) -> Standing:
    alias, number = named
    spec = catalog.model(alias)
    start = _start(catalog, spec, state)
    return Standing(
        alias=alias,
        number=number,
        spec=spec,
        state=state,
        local=catalog.is_local(alias),
        start=start,
        quality=_quality(spec, occasion.task),
        price=_price(catalog, spec),
        grade=_grade(state.blocked, start, occasion),
    )


def _start(catalog: Catalog, spec: ModelSpec, state: ModelState) -> float:
    """Seconds until one more job would be begun: the loading, and its turn among those that wait.

    Whoever is first in the queue has waited `oldest`: one who comes last is hardly sooner.
    """
    load = spec.load_s or 0.0 if state.loaded is False else 0.0
    if not state.waiting:
        return load
    slots = sum(catalog.backends[name].slots for name in spec.at)
    latency = ASSUMED_LATENCY if state.latency is None else state.latency
    return load + max(state.waiting / slots * latency, state.oldest)


def _quality(spec: ModelSpec, task: str | None) -> float:
    scores = spec.quality
    score = scores.get(task) if task else None
    return scores.get("default", NO_SCORE) if score is None else score


def _price(catalog: Catalog, spec: ModelSpec) -> float | None:
    """What a million tokens in and out cost: nothing where calls are not paid for one by one."""
    if catalog.billing(spec.at[0]) is not Billing.METERED:
        return 0.0
    prices = spec.usd_per_mtok
    if prices is None or prices.input is None or prices.output is None:
        return None
    return prices.input + prices.output


def _grade(blocked: Blocked | None, start: float, occasion: Occasion) -> int:
    within = occasion.policy.start_within
    if occasion.urgency is Urgency.INTERACTIVE:
        return 2 if blocked else int(start > within)
    return int(blocked is not None and blocked.until - occasion.now > within)


def _until(one: Standing) -> float:
    """Among what is blocked: the soonest to be free first."""
    return one.state.blocked.until if one.grade and one.state.blocked else 0.0


def _merit(one: Standing, occasion: Occasion) -> Sequence[float]:
    """What sorts models of one grade, the smallest first.

    interactive: what is loaded, then by steps of latency (each twice the one before), then by quality.
    background: quality, less a share of `WAIT_WEIGHT` for the wait and of `PRICE_WEIGHT` for the price. The share is
    half at a wait of `start_within` and at a price of `USUAL_PRICE`, and whole for an unknown price.
    batch: quality, then price, an unknown one last.
    """
    if occasion.order is Order.AS_WRITTEN:
        return (one.number,)
    if occasion.urgency is Urgency.INTERACTIVE:
        latency = ASSUMED_LATENCY if one.state.latency is None else one.state.latency
        return (one.state.loaded is False, int(latency).bit_length(), -one.quality, one.number)
    if occasion.urgency is Urgency.BATCH:
        return (-one.quality, one.price is None, one.price or 0.0, one.number)
    within, blocked = occasion.policy.start_within, one.state.blocked
    wait = max(one.start, blocked.until - occasion.now) if blocked else one.start
    dear = 1.0 if one.price is None else one.price / (one.price + USUAL_PRICE)
    return (PRICE_WEIGHT * dear + WAIT_WEIGHT * (1 - within / (within + wait)) - one.quality, one.number)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
