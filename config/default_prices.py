"""Prices of metered models that the file does not give, from dated data in the repository."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from openfall.config.fields import keys_of
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import LongPromptPrices, Prices, TokenPrices

PRICES = Path(__file__).resolve().parent / "prices.yaml"
"""US dollars for a million tokens by the provider's name of a model. The header has the date and the source."""


@cache
def known_prices() -> dict[str, Prices]:
    """The prices in the data, by `upstream`."""
    data = yaml.safe_load(PRICES.read_text("utf-8"))
    return {upstream: Prices(**_by_field(Prices, prices)) for upstream, prices in data["models"].items()}


def _by_field(model: type[BaseModel], prices: Mapping[str, Any]) -> dict[str, Any]:
    """The prices by the fields of their model. Those of a long prompt, or of a service tier, stand below them."""
    keys = keys_of(model)
    nested = {"above": LongPromptPrices}
    return {
        keys[key].field: _by_field(nested.get(key, TokenPrices), value) if isinstance(value, dict) else value
        for key, value in prices.items()
    }


def add_prices(catalog: Catalog) -> Catalog:
    """The catalog with a price for each metered model that has none and is in the data. Others stay unknown."""
    unpriced = {name: model for name, model in catalog.models.items() if _wants_price(catalog, model)}
    if not unpriced:
        return catalog
    known = known_prices()
    known_models = {
        name: model.model_copy(update={"usd_per_mtok": known[model.upstream]})
        for name, model in unpriced.items()
        if model.upstream in known
    }
    return catalog.model_copy(update={"models": {**catalog.models, **known_models}}) if known_models else catalog


def _wants_price(catalog: Catalog, model: ModelSpec) -> bool:
    return model.usd_per_mtok is None and any(catalog.is_metered(at) for at in model.backends)
