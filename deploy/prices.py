"""Regenerates `config/prices.yaml`: `python deploy/prices.py WHEEL`. For maintainers; no product code imports this.

It needs `genai-prices` (MIT), the maintained source of the prices, which is a development dependency, and the wheel of
`litellm` (MIT), which is not installed: its price map has what the other lacks, and a second opinion on the rest. The
models are listed here. A model that `genai-prices` does not know is an error.
"""

from __future__ import annotations

import datetime
import json
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

TARGET = Path(__file__).resolve().parents[1] / "config" / "prices.yaml"

MODELS = {
    "anthropic": (
        "claude-opus-4-5",
        "claude-opus-4-6",
        "claude-opus-4-7",
        "claude-opus-4-8",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-6",
        "claude-sonnet-5",
        "claude-haiku-4-5",
    ),
    "openai": ("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini"),
    "google": ("gemini-2.5-flash", "gemini-3-flash-preview"),
    "openrouter": (
        "anthropic/claude-haiku-4.5",
        "anthropic/claude-opus-4.6",
        "anthropic/claude-sonnet-4.6",
        "deepseek/deepseek-v3.2",
        "deepseek/deepseek-v4-flash",
        "openai/gpt-4.1",
    ),
}
"""The models whose prices are kept, by provider, under the provider's names."""

FIELDS = {
    "in": "input_mtok",
    "out": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
LITELLM_FIELDS = {
    "in": "input_cost_per_token",
    "out": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}
LANES = {"flex": "_flex", "batch": "_batches", "priority": "_priority"}
"""The kinds of calls with prices of their own, and how LiteLLM's keys of each end."""
TOLERANCE = 0.01

HEAD = """\
# US dollars for a million tokens, by the name that the provider knows a model by. As of {day}.
#
# Source: genai-prices {version} (MIT, https://github.com/pydantic/genai-prices); for flex, batch and priority, and to
# compare, the price map of litellm {litellm} (MIT, https://github.com/BerriAI/litellm). Written by `python
# deploy/prices.py`; do not edit. A model that is called by the token and states no `usd_per_mtok` costs what stands
# here; one that is not here has no known price. `above`: a longer input has these prices. `sources differ`: check it.
as_of: {day}
source: genai-prices {version}
compared: litellm {litellm}
models:
"""

Entry = Mapping[str, Any]


def main() -> None:
    """Write the file. LiteLLM's map is read from its wheel (`pip download --no-deps litellm`)."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python deploy/prices.py LITELLM_WHEEL")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        prices = json.loads(wheel.read("litellm/model_prices_and_context_window_backup.json"))
    name = Path(sys.argv[1]).name.split("-")[1]
    day = datetime.datetime.now(datetime.UTC).date()
    known = {model: prices.get(model) or prices.get(f"{provider}/{model}") for provider, model in _names()}
    lanes = {model: _lanes(entry or {}) for model, entry in known.items()}
    differing = {model for model, entry in known.items() if entry and _differs(model, entry, day)}
    TARGET.write_text(render(day, name, lanes, differing), "utf-8")


def render(day: datetime.date, litellm: str, lanes: Mapping[str, Entry], differing: Collection[str]) -> str:
    """The whole file, with the prices of that day."""
    head = HEAD.format(day=day, version=version("genai-prices"), litellm=litellm)
    return head + "".join(_lines(day, lanes, differing))


def _names() -> Iterator[tuple[str, str]]:
    return ((provider, name) for provider, names in MODELS.items() for name in names)


def _lines(day: datetime.date, lanes: Mapping[str, Entry], differing: Collection[str]) -> Iterator[str]:
    for provider, names in MODELS.items():
        yield f"  # {provider}\n"
        for name in names:
            price = _price(_model(provider, name), day)
            entry: dict[str, Any] = {word: _usd(rate) for word, rate in _rates(price).items()}
            searches = getattr(price, "web_searches_kcount", None)
            entry |= {"web_search": _usd(searches / 1000)} if searches else {}
            entry |= _above(price) | {
                lane: {word: _shown(usd) for word, usd in prices.items()} for lane, prices in lanes[name].items()
            }
            yield f"  {name}: {_flow(entry)}{'  # sources differ' if name in differing else ''}\n"


def _flow(entry: Entry) -> str:
    return f"{{{', '.join(f'{key}: {_flow(v) if isinstance(v, dict) else v}' for key, v in entry.items())}}}"


def _rates(price: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    rates = {word: getattr(price, field, None) for word, field in FIELDS.items()}
    return {word: rate for word, rate in rates.items() if rate is not None}


def _above(price: ModelPrice) -> Entry:
    """The prices of the dearest tier, from the lowest limit on: no long prompt costs more than is booked."""
    rates = _rates(price)
    limits = [tier.start for rate in rates.values() if isinstance(rate, TieredPrices) for tier in rate.tiers]
    if not limits:
        return {}
    dearest = {
        word: max(tier.price for tier in rate.tiers) if isinstance(rate, TieredPrices) else rate
        for word, rate in rates.items()
    }
    return {"above": {"tokens": min(limits), **{word: _usd(rate) for word, rate in dearest.items()}}}


def _lanes(entry: Entry) -> dict[str, dict[str, float]]:
    """The prices of each lane that LiteLLM knows. A flex or batch price above the live one is an error of its data."""
    lanes = {}
    for lane, end in LANES.items():
        prices = {word: _mtok(entry[field + end]) for word, field in LITELLM_FIELDS.items() if entry.get(field + end)}
        is_dearer = any(usd > _mtok(entry[LITELLM_FIELDS[word]]) for word, usd in prices.items())
        if {"in", "out"} <= prices.keys() and (lane == "priority") >= is_dearer:
            live = {word: _mtok(entry[field]) for word, field in LITELLM_FIELDS.items() if entry.get(field)}
            lanes[lane] = live | prices
    return lanes


def _differs(name: str, entry: Entry, day: datetime.date) -> bool:
    provider = next(provider for provider, names in MODELS.items() if name in names)
    ours = {word: float(_usd(rate)) for word, rate in _rates(_price(_model(provider, name), day)).items()}
    theirs = {word: _mtok(entry[field]) for word, field in LITELLM_FIELDS.items() if entry.get(field)}
    return any(abs(ours[word] - theirs[word]) > TOLERANCE * ours[word] for word in ours.keys() & theirs.keys())


def _mtok(usd_per_token: float) -> float:
    return float(round(Decimal(str(usd_per_token)) * 1_000_000, 6))


def _shown(usd: float) -> str:
    return f"{Decimal(str(usd)).normalize():f}"


def _model(provider: str, name: str) -> ModelInfo:
    (match,) = [
        model for known in providers if known.id == provider for model in known.models if model.match.is_match(name)
    ]
    return match


def _price(model: ModelInfo, day: datetime.date) -> ModelPrice:
    """The price of that day: the latest that has begun. Of prices that depend on the hour it is the dearest."""
    if isinstance(model.prices, ModelPrice):
        return model.prices
    by_hour = [entry.prices for entry in model.prices if hasattr(entry.constraint, "start_time")]
    begun = [
        entry.prices
        for entry in model.prices
        if entry.constraint is None or getattr(entry.constraint, "start_date", day) <= day
    ]
    return max(by_hour, key=lambda price: _base(price.output_mtok)) if by_hour else begun[-1]


def _base(price: Decimal | TieredPrices | None) -> Decimal:
    return price.base if isinstance(price, TieredPrices) else price or Decimal(0)


def _usd(price: Decimal | TieredPrices) -> str:
    return f"{_base(price).normalize():f}"


if __name__ == "__main__":
    main()
