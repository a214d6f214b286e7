"""What an operator reads of an order to a card: why it waits, and what a pin means for the other models."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend, Loader
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.card_state import CardState, ModelOnCard
from openfall.workers.admin.model_admin import describe_pending, pin_notice

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


SIZES = {"alpha": 10.0, "beta": 10.0, "small": 4.0, "unknown": None}


@pytest.mark.parametrize(
    ("pinned", "protocol", "text"),
    [
        ((), "openai", ""),
        (("small",), "openai", ""),
        (("small",), "ollama", "; beside small these never fit: alpha, beta"),
        (("alpha",), "openai", "; beside alpha these never fit: beta"),
        (("alpha", "small"), "openai", "; beside alpha, small these never fit: beta"),
        (
            ("alpha", "beta"), "openai",
            "; the pinned models need 20 GB, and card tower has 16: the last one waits for ever",
        ),
    ],
)  # fmt: skip
def test_a_pin_says_which_models_fit_no_more(pinned: tuple[str, ...], protocol: Any, text: str) -> None:
    loader = Loader.OLLAMA if protocol == "ollama" else Loader.SIDECAR
    tower = Backend(url="http://t:1", protocol=protocol, loader=loader, pool="gpu", vram_gb=16)
    models = {name: ModelSpec(upstream=name, backends=("tower",), vram_gb=gb) for name, gb in SIZES.items()}
    catalog = Catalog(backends={"tower": tower}, models=models)
    assert pin_notice(catalog, "tower", CardState(pinned=dict.fromkeys(pinned, True))) == text
