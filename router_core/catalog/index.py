"""What the catalog says of each model that never changes from job to job: looked up once for a catalog, not per job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from openfall.router_core.catalog.entries import Billing, Catalog, ModelSpec

KEPT = 8
"""Catalogs whose roster is kept: one, but while a changed configuration takes over."""
NO_SCORE = 0.5
"""The quality of a model that has no score for a task, and none by default."""


@dataclass(frozen=True, slots=True)
class IndexedModel:
    """A model. `slots` are those of all its backends; `load_time` is 0 where it need not be loaded, or nobody knows;
    `quality` that for a task without a score; `price` is US dollars for a million tokens in and out together: 0 where
    calls are not paid for one by one, None where nobody knows."""

    spec: ModelSpec
    local: bool
    slots: int
    load_time: float
    quality: float
    price: float | None


class _Same:
    """A catalog as a key: only itself is equal to it. Catalogs hold mappings, so they have no hash of their own."""

    __slots__ = ("catalog",)

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def __hash__(self) -> int:
        return id(self.catalog)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.catalog is other.catalog


def model_index(catalog: Catalog) -> Mapping[str, IndexedModel]:
    """Every model of a catalog by its alias."""
    return _roster(_Same(catalog))


@lru_cache(maxsize=KEPT)
def _roster(same: _Same) -> Mapping[str, IndexedModel]:
    catalog = same.catalog
    return {
        alias: IndexedModel(
            spec,
            catalog.is_local(alias),
            sum(catalog.backends[name].slots for name in spec.backends),
            spec.load_time or 0.0,
            spec.quality.get("default", NO_SCORE),
            _price(spec, catalog.billing(spec.backends[0])),
        )
        for alias, spec in catalog.models.items()
    }


def _price(spec: ModelSpec, billing: Billing) -> float | None:
    if billing is not Billing.METERED:
        return 0.0
    prices = spec.usd_per_mtok
    if prices is None or prices.input is None or prices.output is None:
        return None
    return prices.input + prices.output
