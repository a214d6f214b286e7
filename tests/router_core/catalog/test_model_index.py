from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_index import MAX_CATALOGS, model_index
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices

TOWER = Backend(url="http://127.0.0.1:8080", pool="gpu", slots=2)
SHED = Backend(url="http://127.0.0.1:8081", pool="gpu", slots=3)
PROVIDER = Backend(url="https://example.invalid", pool="cloud")
FLAT = Backend(url="https://example.invalid", pool="cloud", billing=Billing.FLAT)
BACKENDS = {"tower": TOWER, "shed": SHED, "provider": PROVIDER, "flat": FLAT}


def catalog(**result: Any) -> Catalog:
    return Catalog(backends=BACKENDS, models={"m": ModelSpec(upstream="m", **result)})


def test_slots_are_those_of_all_backends() -> None:
    member = model_index(catalog(backends=("tower", "shed")))["m"]
    assert (member.slots, member.local) == (5, True)


def test_a_missing_value_of_a_model_has_its_default() -> None:
    plain = model_index(catalog(backends=("tower",)))["m"]
    assert (plain.load_time, plain.quality) == (30.0, 0.5)
    result = model_index(catalog(backends=("tower",), load_time=35, quality={"default": 0.7}))["m"]
    assert (result.load_time, result.quality) == (35.0, 0.7)


def test_an_unknown_load_time_is_assumed_from_the_memory_or_the_slowest_model() -> None:
    at = {"upstream": "m", "backends": ("tower",)}
    models = {"slow": {"load_time": 90}, "sized": {"vram_gb": 5}, "unknown": {}}
    index = model_index(
        Catalog(backends=BACKENDS, models={name: ModelSpec(**at, **rest) for name, rest in models.items()})
    )
    assert {alias: member.load_time for alias, member in index.items()} == {
        "slow": 90.0,
        "sized": 10.0,
        "unknown": 90.0,
    }


@pytest.mark.parametrize(
    ("at", "prices", "price"),
    [
        ("tower", Prices(input=1, output=2), 0.0),
        ("flat", None, 0.0),
        ("provider", Prices(input=1, output=5), 6.0),
        ("provider", Prices(input=1), None),
        ("provider", Prices(output=1), None),
        ("provider", None, None),
    ],
)
def test_a_price_is_0_without_metering_and_unknown_stays_unknown(
    at: str, prices: Prices | None, price: float | None
) -> None:
    assert model_index(catalog(backends=(at,), usd_per_mtok=prices))["m"].price == price


def test_each_catalog_has_its_own_index() -> None:
    first, other = catalog(backends=("tower",)), catalog(backends=("tower",))
    assert first == other
    assert model_index(first) is model_index(first)
    assert model_index(first) is not model_index(other)


def test_a_changed_copy_of_a_catalog_is_another() -> None:
    first = catalog(backends=("tower",))
    assert model_index(first)["m"].local
    assert not model_index(first.model_copy(update={"models": catalog(backends=("provider",)).models}))["m"].local


def test_many_catalogs_have_different_indexes() -> None:
    kept = [catalog(backends=("tower",), load_time=seconds) for seconds in range(1, 2 * MAX_CATALOGS)]
    assert [model_index(entry)["m"].load_time for entry in kept] == list(range(1, 2 * MAX_CATALOGS))
