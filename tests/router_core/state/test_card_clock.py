"""What a card goes by when the clock of the server is set back, and when the configuration has changed."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard
from openfall.router_core.state.cards import CardStore, give_order
from tests.router_core.state.test_cards import QUEUES, store, write

NOW = 10_000.0


def kept(state: CardState, now: float = NOW) -> CardState:
    state.keep_true(["tower"], ["small", "large"], now)
    return state


@pytest.mark.parametrize(
    ("alias", "backend", "stays"),
    [("small", "tower", True), ("gone", "tower", False), ("small", "renamed", False), ("gone", "renamed", False)],
)
def test_a_model_that_the_configuration_has_no_more_is_not_on_the_card(alias: str, backend: str, stays: bool) -> None:
    state = kept(CardState(models={alias: ModelOnCard(backend, NOW - 60, 4.0)}))
    assert (alias in state.models) is stays


@pytest.mark.parametrize("set_back", [2.0, 3600.0, 86_400.0 * 365])
def test_nothing_waits_for_a_moment_of_a_clock_that_was_set_back(set_back: float) -> None:
    later = NOW + set_back
    state = kept(
        CardState(
            models={"small": ModelOnCard("tower", later, 4.0, protected_until=later + 30, wanted_at=later)},
            refused={"large": FailedLoad(later + 600, 600.0, "out of memory")},
            loads=[(NOW - 300, 30.0), (later, 30.0)],
            departures=[NOW - 5, later],
        )
    )
    small = state.models["small"]
    assert (small.ready_at, small.protected_until, small.wanted_at) == (NOW, 0.0, NOW)
    assert (state.refused, state.loads, state.departures) == ({}, [(NOW - 300, 30.0)], [NOW - 5])
    assert kept(CardState(models=dict(state.models)), NOW + 5).models["small"].ready_at == NOW, "it is set once"


def test_what_has_been_is_kept() -> None:
    refused = FailedLoad(NOW + 600, 600.0, "out of memory")
    state = CardState({"small": ModelOnCard("tower", NOW, 4.0, NOW + 30)}, None, [(NOW, 30.0)], {"large": refused})
    before = repr(state)
    assert repr(kept(state)) == before


@pytest.mark.parametrize("set_back", [30.0, 3600.0, 86_400.0])
def test_a_manager_that_is_gone_holds_no_card_after_the_clock_was_set_back(fleet: Any, set_back: float) -> None:
    async def scenario(f: Any) -> None:
        assert await store(f, "manager-a").fetch() is not None
        f.clock.now -= set_back
        assert await store(f, "manager-b").fetch() is not None

    fleet(scenario)


@pytest.mark.parametrize("set_back", [1.0, 5.0, 3600.0])
def test_uses_and_orders_are_never_later_than_now(fleet: Any, set_back: float) -> None:
    async def scenario(f: Any) -> None:
        worker, cards = await f.start_worker("wa", *QUEUES), store(f)
        await f.accept("job-00001")
        await write(f, cards, {"smol": 2})
        delivery = await f.claim(worker)
        await give_order(f.link, "box", "load", "large")
        await cards.fetch()
        await f.settle(worker, delivery)
        f.clock.now -= set_back
        first, moments = await _moments(cards)
        assert set(moments) == {first}
        f.clock.now += 60
        later, moments = await _moments(cards)
        assert (later, set(moments)) == (first + 60, {first}), "they are set once"

    fleet(scenario)


async def _moments(cards: CardStore) -> tuple[float, list[float]]:
    snapshot = await cards.fetch()
    assert snapshot is not None
    (record,) = snapshot.cards
    return snapshot.now, [*record.used.values(), *record.orders.values()]
