"""What an operator reads whose order to a card is not carried out yet."""

from __future__ import annotations

import pytest

from openfall.router_core.state.card_state import CardState, ModelOnCard
from openfall.workers.admin.model_admin import describe_pending

HELD = {"beta": ModelOnCard("tower", 1.0, 10.0)}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (None, "ordered; no worker manages card tower: it is carried out once one does"),
        (CardState(), "ordered, and it still waits: card tower has no model in memory"),
        (CardState(models=dict(HELD)), "ordered, and it still waits: card tower has beta in memory"),
        (
            CardState(models=dict(HELD), reason="alpha waits: beta is kept warm for more urgent callers"),
            "ordered, and it still waits: card tower has beta in memory "
            "(alpha waits: beta is kept warm for more urgent callers)",
        ),
    ],
)
def test_an_order_that_waits_says_what_for(state: CardState | None, text: str) -> None:
    assert describe_pending("tower", state) == text
