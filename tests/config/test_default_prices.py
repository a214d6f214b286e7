"""The price of a model without one in the file."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from openfall import config
from openfall.config.default_prices import PRICES, known_prices
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import Prices
from tests.config.config_texts import load_text

ROOT = Path(__file__).resolve().parents[2]


def model(directory: Path, backend: str, fields: str) -> ModelSpec:
    text = f"backends: {{b: {{{backend}}}}}\nmodels: {{m: {{backends: [b], {fields}}}}}\n"
    return load_text(directory, text).catalog.models["m"]


METERED = "protocol: anthropic, pool: cloud"
HAIKU = "upstream: claude-haiku-4-5"


def test_a_metered_model_has_the_prices_of_the_data(tmp_path: Path) -> None:
    assert model(tmp_path, METERED, HAIKU).usd_per_mtok == known_prices()["claude-haiku-4-5"]


def test_a_price_in_the_file_wins(tmp_path: Path) -> None:
    result = model(tmp_path, METERED, f"{HAIKU}, usd_per_mtok: {{in: 2, out: 7.5}}").usd_per_mtok
    assert result == Prices(input=2, output=7.5)


def test_a_price_that_is_not_in_the_data_is_unknown(tmp_path: Path) -> None:
    assert model(tmp_path, METERED, "upstream: claude-opus-99").usd_per_mtok is None


@pytest.mark.parametrize(
    "backend", [f"{METERED}, billing: flat", "url: http://127.0.0.1:1, pool: gpu", f"{METERED}, billing: local"]
)
def test_a_model_that_is_not_metered_has_no_price(tmp_path: Path, backend: str) -> None:
    assert model(tmp_path, backend, HAIKU).usd_per_mtok is None


@pytest.mark.parametrize(
    ("upstream", "read", "written"),
    [
        ("claude-opus-4-6", 5, 25),
        ("claude-sonnet-4-6", 3, 15),
        ("claude-haiku-4-5", 1, 5),
        ("deepseek/deepseek-v3.2", 0.26, 0.38),
        ("gemini-2.5-flash", 0.30, 2.50),
    ],
)
def test_the_data_has_the_prices_of_the_providers(upstream: str, read: float, written: float) -> None:
    assert (known_prices()[upstream].input, known_prices()[upstream].output) == (read, written)


def test_every_price_in_the_data_is_whole_and_more_than_nothing() -> None:
    for upstream, prices in known_prices().items():
        assert prices.input, upstream
        assert prices.output, upstream
        assert prices.output >= prices.input, upstream
        assert prices.cache_read is None or 0 < prices.cache_read <= prices.input, upstream


def test_every_metered_model_that_is_shipped_has_a_price(tmp_path: Path) -> None:
    for name in ("ace", "groups", "artifacts"):
        catalog = config.load(ROOT / "config" / f"{name}.yaml", environ={}, cwd=tmp_path).catalog
        for alias, spec in catalog.models.items():
            metered = catalog.billing(spec.backends[0]) == "metered"
            assert (spec.usd_per_mtok is not None) == metered, alias


def test_the_data_has_its_date_and_source() -> None:
    data = yaml.safe_load(PRICES.read_text("utf-8"))
    assert isinstance(data["as_of"], datetime.date)
    assert data["source"].startswith("genai-prices ")


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prices", ROOT / "deploy" / "prices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_data_equals_its_source() -> None:
    pytest.importorskip("genai_prices")
    data = yaml.safe_load(PRICES.read_text("utf-8"))
    if data["source"] != f"genai-prices {importlib.metadata.version('genai-prices')}":
        pytest.skip(f"written from {data['source']}, which is not the one that is installed")
    written = {
        name: {word: entry[word] for word in ("flex", "batch", "priority") if word in entry}
        for name, entry in data["models"].items()
    }
    text = PRICES.read_text("utf-8")
    differing = [name for name in data["models"] if re.search(f"  {re.escape(name)}: .*# sources differ", text)]
    litellm = data["compared"].removeprefix("litellm ")
    assert writer().render(data["as_of"], litellm, written, differing) == text


def test_a_call_of_flex_or_batch_never_costs_more_than_a_live_one_and_priority_never_less() -> None:
    for upstream, prices in known_prices().items():
        for cheaper in filter(None, (prices.flex, prices.batch)):
            assert (cheaper.input or 0) <= (prices.input or 0), upstream
            assert (cheaper.output or 0) <= (prices.output or 0), upstream
        if prices.priority is not None:
            assert (prices.priority.output or 0) >= (prices.output or 0), upstream


def test_an_hour_of_cache_and_a_long_prompt_have_prices_of_their_own() -> None:
    prices = known_prices()["claude-sonnet-4-5"]
    assert prices.above is not None
    assert (prices.cache_write_1h, prices.above.tokens, prices.above.input, prices.above.output) == (
        6,
        200_000,
        6,
        22.5,
    )
