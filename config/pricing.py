"""What metered models cost where the file does not say: from dated data that is checked in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from openfall.router_core.catalog.entries import (
    Billing,
    Catalog,
    ModelSpec,
    Prices,
)

PRICES = Path(__file__).resolve().parent / "prices.yaml"
"""US dollars for a million tokens by the provider's name of a model. Its first lines say of when, and from where."""


@cache
def known_prices() -> dict[str, Prices]:
    """What is in the data, by `upstream`."""
    data = yaml.safe_load(PRICES.read_text("utf-8"))
    words = {"in": "input", "out": "output"}
    return {
        upstream: Prices(**{words.get(key, key): usd for key, usd in told.items()})
        for upstream, told in data["models"].items()
    }


def priced(catalog: Catalog) -> Catalog:
    """The catalog with the price of each metered model that states none and is in the data; others stay unknown."""
    bare = {name: model for name, model in catalog.models.items() if _wants_price(catalog, model)}
    if not bare:
        return catalog
    known = known_prices()
    told = {
        name: model.model_copy(update={"usd_per_mtok": known[model.upstream]})
        for name, model in bare.items()
        if model.upstream in known
    }
    return catalog.model_copy(update={"models": {**catalog.models, **told}}) if told else catalog


def _wants_price(catalog: Catalog, model: ModelSpec) -> bool:
    return model.usd_per_mtok is None and any(catalog.billing(at) is Billing.METERED for at in model.backends)
