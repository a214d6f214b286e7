"""The state of a model on a card, for people."""

from __future__ import annotations

import pytest

from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch
from openfall.router_core.state.card_status import StateOnCard, state_on_card
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
