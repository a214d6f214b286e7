"""The view that the placement depends on, made from what Redis says."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.placement.cards_view import BACKGROUND, CardsView, Demand
from openfall.router_core.placement.plan_cards import plan_cards
from openfall.router_core.state.card_state import CardState, FailedLoad
from openfall.router_core.state.cards import CardRecord, CardsSnapshot, CardStore
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.gpu.build_cards_view import CardsContext
from openfall.workers.gpu.card_engine import CardEngine

NOW = 10_000.0
CATALOG = Catalog(
    backends={"tower": Backend(url="http://tower:11434", protocol="ollama", pool="gpu", vram_gb=16)},
    models={name: ModelSpec(upstream=name, backends=("tower",), vram_gb=10) for name in ("alpha", "beta")},
)
FAILED = FailedLoad(NOW + 40, 60.0, "out of memory")


class IdleEngine(CardEngine):
    """One that is never asked."""

    def __init__(self) -> None:
        self.max_models = 3


def view(
    unmet: dict[str, tuple[float, ...]] | None = None,
    state: CardState | None = None,
    orders: dict[tuple[str, str], float] | None = None,
) -> CardsView:
    store = CardStore(RedisConnection("redis://127.0.0.1:1"), CATALOG, "gpu", "worker")
    context = CardsContext(CATALOG, store, {"tower": IdleEngine()}, lambda _: None, lambda _, __: 0.0)
    record = CardRecord("tower", 1, state or CardState(), orders or {})
    return context.view(CardsSnapshot(1, NOW, (), (), (record,), unmet or {}, {}))


@pytest.mark.parametrize(
    ("moments", "count"),
    [
        ((NOW - 59, NOW - 1), 1),
        ((NOW - 50, NOW - 40, NOW - 30, NOW - 20), 1),
        ((NOW - 1,), 0),
        ((NOW - 61, NOW - 1), 0),
        ((), 0),
    ],
)
def test_two_jobs_that_left_within_a_minute_are_one_background_job(moments: tuple[float, ...], count: int) -> None:
    recent = [Demand("alpha", BACKGROUND, 1, moments[0], moments[0] + 30)] if count else []
    assert list(view({"alpha": moments}).demands) == recent
    assert not view({"gone": (NOW, NOW)}).demands, "of a model that the catalog does not name nothing is loaded"


def test_a_model_whose_load_failed_is_tried_at_once_by_an_order_that_came_after_it() -> None:
    refused = CardState(refused={"alpha": FAILED})

    def loaded(orders: dict[tuple[str, str], float]) -> str | None:
        return plan_cards(view(state=refused, orders=orders), NOW)["tower"].load

    assert loaded({}) is None
    assert loaded({("load", "alpha"): FAILED.since - 1}) is None, "the load that failed was for it"
    assert loaded({("load", "alpha"): FAILED.since + 1}) == "alpha"
