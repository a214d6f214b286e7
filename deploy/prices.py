"""Regenerates `config/prices.yaml`: `python deploy/prices.py`. For maintainers; no product code imports this.

It needs `genai-prices` (MIT), the maintained source of the prices, which is a development dependency. The models are
listed here. A model that `genai-prices` does not know is an error.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

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
}

HEAD = """\
# US dollars for a million tokens, by the name that the provider knows a model by. As of {day}.
#
# Source: genai-prices {version} (MIT, https://github.com/pydantic/genai-prices). Written by `python deploy/prices.py`;
# do not edit. A model that is called by the token and states no `usd_per_mtok` costs what stands here; one that is not
# here has no known price. `tiers`: a prompt longer than that many tokens costs more than what stands here.
as_of: {day}
source: genai-prices {version}
models:
"""


def main() -> None:
    TARGET.write_text(render(datetime.datetime.now(datetime.UTC).date()), "utf-8")


def render(day: datetime.date) -> str:
    """The whole file, with the prices of that day."""
    return HEAD.format(day=day, version=version("genai-prices")) + "".join(_lines(day))


def _lines(day: datetime.date) -> Iterator[str]:
    for provider, names in MODELS.items():
        yield f"  # {provider}\n"
        for name in names:
            price = _price(_model(provider, name), day)
            prices = {word: getattr(price, field, None) for word, field in FIELDS.items()}
            tiers = [tier.start for rate in prices.values() if isinstance(rate, TieredPrices) for tier in rate.tiers]
            fields = ", ".join(f"{word}: {_usd(rate)}" for word, rate in prices.items() if rate is not None)
            yield f"  {name}: {{{fields}}}{f'  # tiers: {min(tiers)}' if tiers else ''}\n"


def _model(provider: str, name: str) -> ModelInfo:
    (match,) = [
        model for known in providers if known.id == provider for model in known.models if model.match.is_match(name)
    ]
    return match


def _price(model: ModelInfo, day: datetime.date) -> ModelPrice:
    """The price of that day: the latest that has begun."""
    if isinstance(model.prices, ModelPrice):
        return model.prices
    begun = [
        entry.prices
        for entry in model.prices
        if entry.constraint is None or getattr(entry.constraint, "start_date", day) <= day
    ]
    return begun[-1]


def _usd(price: Decimal | TieredPrices) -> str:
    base = price.base if isinstance(price, TieredPrices) else price
    return f"{base.normalize():f}"


if __name__ == "__main__":
    main()
