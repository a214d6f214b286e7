"""Derived facts of each model that do not change from job to job, computed once for a catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.validation import DEFAULT_QUALITY

V = TypeVar("V")

MAX_CATALOGS = 8
"""Catalogs whose index is cached. There is one, except while a changed configuration takes over."""
ASSUMED_SECONDS_PER_GB, ASSUMED_LOAD_SECONDS = 2.0, 30.0
"""How long a model without `load_time` loads: by its `vram_gb`, else as long as the slowest model of the file, else
these seconds."""
DEFAULT_SCORE = 0.5
"""The quality of a model without a score for a task and without a default score."""


@dataclass(frozen=True, slots=True)
class IndexedModel:
    """A model and its derived facts."""

    spec: ModelSpec
    local: bool
    slots: int
    """Those of all its backends."""
    load_time: float
    """Seconds. Assumed where the file does not say it."""
    quality: float
    """For a task without a score."""
    price: float | None
    """US dollars for a million tokens, input and output together. 0 if calls are not metered, None if unknown."""

    def quality_for(self, task: str | None) -> float:
        """The score for a task, else the quality for a task without a score."""
        return self.spec.quality.get(task or "", self.quality)


class ByIdentity(Generic[V]):
    """A value as a cache key, equal only to itself: mappings, and catalogs that hold them, cannot be hashed."""

    __slots__ = ("value",)

    def __init__(self, value: V) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.value is other.value


def model_index(catalog: Catalog) -> Mapping[str, IndexedModel]:
    """Every model of a catalog by its alias."""
    return _build_index(ByIdentity(catalog))


@lru_cache(maxsize=MAX_CATALOGS)
def _build_index(key: ByIdentity[Catalog]) -> Mapping[str, IndexedModel]:
    catalog = key.value
    longest = max((spec.load_time for spec in catalog.models.values() if spec.load_time), default=ASSUMED_LOAD_SECONDS)
    return {
        alias: IndexedModel(
            spec=spec,
            local=catalog.is_local(alias),
            slots=sum(catalog.backends[name].slots for name in spec.backends),
            load_time=_load_time(spec, longest),
            quality=spec.quality.get(DEFAULT_QUALITY, DEFAULT_SCORE),
            price=_price(spec, catalog.billing(spec.backends[0])),
        )
        for alias, spec in catalog.models.items()
    }


def _load_time(spec: ModelSpec, longest: float) -> float:
    if spec.load_time is not None:
        return spec.load_time
    return longest if spec.vram_gb is None else spec.vram_gb * ASSUMED_SECONDS_PER_GB


def _price(spec: ModelSpec, billing: Billing) -> float | None:
    if billing is not Billing.METERED:
        return 0.0
    prices = spec.usd_per_mtok
    if prices is None or prices.input is None or prices.output is None:
        return None
    return prices.input + prices.output
