"""The state of a model on a card, for people."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch
from openfall.router_core.state.card_status import StateOnCard, fetch_card_status, state_on_card
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import LoadState

NOW = 1000.0
SWITCH = Switch(load="large", backend="tower", evict=("old",), since=990.0, reason="large is due", seconds=30.0)
STATE = CardState(
    models={"smol": ModelOnCard("tower", 900.0), "leaves": ModelOnCard("tower", 800.0)},
    switch=SWITCH,
    refused={"broken": FailedLoad(1040.0, 60.0, "out of memory"), "again": FailedLoad(999.0, 60.0, "timeout")},
    draining=("leaves",),
    reason="large waits for its calls",
)


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("large", StateOnCard(LoadState.LOADING, 990.0, "large is due")),
        ("old", StateOnCard(LoadState.CLOSING, 990.0, "large is due")),
        ("leaves", StateOnCard(LoadState.CLOSING, None, "large waits for its calls")),
        ("smol", StateOnCard(LoadState.READY, 900.0)),
        ("broken", StateOnCard(LoadState.ERROR, 980.0, "its last load failed: out of memory")),
        ("again", StateOnCard(LoadState.NOT_LOADED, None, "its last load failed: timeout")),
        ("other", StateOnCard(LoadState.NOT_LOADED)),
    ],
)
def test_a_model_on_a_card_has_its_state_since_when_and_why(alias: str, expected: StateOnCard) -> None:
    assert state_on_card(STATE, alias, NOW, in_use=False) == expected


def test_a_model_on_a_card_with_a_call_in_flight_is_in_use() -> None:
    assert state_on_card(STATE, "smol", NOW, in_use=True).load_state is LoadState.IN_USE
    assert state_on_card(CardState(), "smol", NOW, in_use=True).load_state is LoadState.NOT_LOADED


def catalog_of(models: int) -> Catalog:
    """Models on four cards."""
    backends = {
        f"box-{n}": {"protocol": "ollama", "url": f"http://127.0.0.{n + 1}:9", "pool": "gpu", "vram_gb": 80}
        for n in range(4)
    }
    rows = {f"m{n}": {"upstream": f"m{n}", "backends": [f"box-{n % 4}"], "vram_gb": 1} for n in range(models)}
    return Catalog.model_validate({"backends": backends, "models": rows, "roles": {"chat": {"chain": ["m0"]}}})


def test_the_cards_are_read_in_a_few_round_trips_however_many_models_they_have(redis_url: str) -> None:
    async def trips(models: int) -> int:
        catalog = catalog_of(models)
        async with RedisConnection(redis_url) as link:
            await fetch_card_status(link, catalog)  # connects
            before = link.round_trips
            assert len(await fetch_card_status(link, catalog)) == 4
            return link.round_trips - before

    few, many = asyncio.run(trips(4)), asyncio.run(trips(40))
    assert few <= 6
    assert many <= 2 * few
