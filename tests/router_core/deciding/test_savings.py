"""What a call saved against live prices, and which metered calls a model that costs nothing should have served."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices, TokenPrices
from openfall.router_core.deciding.cost import usage_cost
from openfall.router_core.deciding.savings import NONE_SAVED, Savings, call_savings
from openfall.router_core.deciding.unexpected_spend import NOT_FREE, UnexpectedCall, unexpected_call
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.routing.fleet_state import Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, ErrorClass

PRICES = Prices(
    input=2, output=10, cache_read=0.2, flex=TokenPrices(input=1, output=5, cache_read=0.2),
    priority=TokenPrices(input=4, output=20),
)  # fmt: skip
CATALOG = Catalog(
    backends={
        "box": Backend(url="http://127.0.0.1:1", pool="gpu"),
        "plan": Backend(url="http://127.0.0.1:2", pool="cloud", billing=Billing.FLAT),
        "api": Backend(url="http://127.0.0.1:3", pool="cloud"),
    },
    models={
        "smol": ModelSpec(upstream="smol", backends=("box",)),
        "flat": ModelSpec(upstream="flat", backends=("plan",)),
        "paid": ModelSpec(upstream="paid", backends=("api",), usd_per_mtok=PRICES),
        "unpriced": ModelSpec(upstream="unpriced", backends=("api",)),
    },
)
CHAIN = ("smol", "flat", "paid")
USAGE = Usage(input_tokens=1000, output_tokens=100)


def saved(model: str, backend: str, usage: Usage = USAGE, chain: tuple[str, ...] = CHAIN) -> Savings:
    cost = 0 if backend != "api" else usage_cost(CATALOG.models[model].usd_per_mtok or Prices(), usage)
    return call_savings(CATALOG, chain, (model, backend), usage, cost)


@pytest.mark.parametrize(("model", "backend"), [("smol", "box"), ("flat", "plan")])
def test_a_call_that_costs_nothing_saved_the_price_of_the_first_metered_model_of_its_chain(model, backend):
    assert saved(model, backend) == Savings(live=1000 * 2_000 + 100 * 10_000)


def test_tokens_of_an_own_cache_cost_as_much_at_a_provider_as_others():
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=900, service_tier="default")
    assert saved("smol", "box", usage) == saved("smol", "box")


@pytest.mark.parametrize("chain", [("smol",), ("smol", "gone"), ("smol", "unpriced")])
def test_without_a_metered_model_of_known_price_nothing_is_compared(chain):
    assert saved("smol", "box", chain=chain) == NONE_SAVED


def test_savings_are_the_invoice_at_live_rates_less_the_invoice_to_the_nanodollar():
    for tokens in range(1, 200, 7):
        usage = Usage(input_tokens=tokens, output_tokens=tokens * 3, service_tier="flex")
        live, flex = tokens * 2_000 + tokens * 30_000, tokens * 1_000 + tokens * 15_000
        assert saved("paid", "api", usage) == Savings(live=live - flex)


def test_a_dearer_tier_saves_less_than_nothing():
    usage = Usage(input_tokens=1000, output_tokens=100, service_tier="priority")
    assert saved("paid", "api", usage) == Savings(live=-(1000 * 2_000 + 100 * 10_000))


def test_tokens_from_a_cache_saved_the_difference_of_the_tier_that_was_used():
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    assert saved("paid", "api", usage) == Savings(cache=400 * 1_800)
    flex = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400, service_tier="flex")
    assert saved("paid", "api", flex) == Savings(live=600 * 1_000 + 100 * 5_000, cache=400 * 800)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [(USAGE, None), (Usage(cost_nusd=5, service_tier="flex"), 5), (Usage(), 0)],
    ids=["of unknown cost", "charged by the provider itself", "refused"],
)
def test_a_call_whose_live_price_is_not_known_saved_nothing(usage, cost):
    assert call_savings(CATALOG, CHAIN, ("paid", "api"), usage, cost) == NONE_SAVED


def attempt(model: str, cost: int | None = 5, error: ErrorClass | None = None) -> Attempt:
    return Attempt(model=model, backend="any", started_at=0, ended_at=1, cost_nusd=cost, error=error, http_status=None)


def test_a_metered_call_is_unexpected_if_the_configured_chain_has_a_model_before_it_that_costs_nothing():
    fleet = FleetState(
        {"smol": ModelState(blocked=Blocked(BlockReason.COOLDOWN, 9.0, "x", cause="weekly usage limit"))}
    )
    assert unexpected_call(CATALOG, CHAIN, [attempt("paid")], FleetState()) == UnexpectedCall("smol", NOT_FREE)
    assert unexpected_call(CATALOG, CHAIN, [attempt("paid")], fleet) == UnexpectedCall("smol", "weekly usage limit")
    failed = [attempt("smol", 0, ErrorClass.TIMEOUT), attempt("paid")]
    assert unexpected_call(CATALOG, CHAIN, failed, fleet) == UnexpectedCall("smol", "timeout")


@pytest.mark.parametrize(
    ("chain", "last"),
    [
        (("paid", "smol"), attempt("paid")),
        (("gone", "unpriced", "paid"), attempt("paid")),
        (CHAIN, attempt("paid", 0)),
        (CHAIN, attempt("paid", None)),
        (("smol",), attempt("paid")),
    ],
    ids=["the first choice", "no free model before it", "refused", "of unknown cost", "outside the chain"],
)
def test_other_calls_are_expected(chain, last):
    assert unexpected_call(CATALOG, chain, [last], FleetState()) is None
