"""The bound of a call: never less than a provider can bill for it."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble, Pick
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import (
    CallPrice,
    all_budgets,
    backend_budgets,
    budgets_of,
    call_price,
    is_counted,
)
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import LongPromptPrices, Prices, TokenPrices
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.cost_bound import FILE_TOKENS, MAX_IMAGE_TOKENS, cost_bound
from tests.router_core.decisions import CATALOG, job

TEXT = "äö" * 50


def bound(body, by=CATALOG, **more):
    read, limit, thinking, answers, searches, dear, role, task = cost_bound(job(body=body, **more), by).split()
    return {
        "read": int(read), "limit": int(limit), "thinking": int(thinking), "answers": int(answers),
        "searches": int(searches), "dear": dear == "1", "role": role, "task": task,
    }  # fmt: skip


def request(content, **more):
    return {"messages": [{"role": "user", "content": content}], **more}


def test_a_text_counts_its_bytes_and_a_little_more():
    assert 200 < bound(request(TEXT))["read"] < 300


def test_an_image_counts_the_most_that_a_provider_counts_and_not_its_bytes():
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert MAX_IMAGE_TOKENS < bound(request([part]))["read"] < MAX_IMAGE_TOKENS + 200
    ollama = {"messages": [{"role": "user", "content": "", "images": ["A" * 100_000]}]}
    assert MAX_IMAGE_TOKENS < bound(ollama, dialect="ollama")["read"] < MAX_IMAGE_TOKENS + 200


def test_a_document_counts_as_much_as_one_can_have():
    part = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    assert bound(request([part]))["read"] > FILE_TOKENS


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"max_tokens": 70}, "limit", 70),
        ({}, "limit", 0),
        ({"n": 3}, "answers", 3),
        ({"n": True}, "answers", 1),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking", 2000),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 3000}, "thinking", 0),
        ({"reasoning_effort": "high"}, "thinking", 65_536),
        ({"tools": [{"type": "web_search_20250305", "max_uses": 4}]}, "searches", 4),
        ({"tools": [{"type": "web_search_20250305"}, "odd", {"type": "function"}]}, "searches", 10),
        ({"web_search_options": {}}, "searches", 10),
        ({"service_tier": "priority"}, "dear", True),
        ({"speed": "fast"}, "dear", True),
        ({"service_tier": "flex"}, "dear", False),
        ({"temperature": 0.5, "stop": None}, "limit", 0),
    ],
)
def test_what_a_request_asks_for(body, name, value):
    assert bound(request("hi", **body))[name] == value


def test_a_judge_reads_the_answers_too():
    judged = Role(chain=("small", "large"), ensemble=Ensemble(answers=2, pick=Pick.JUDGE, judge="opus"))
    by = CATALOG.model_copy(update={"roles": {"many": judged}})
    assert bound(request("hi", max_tokens=5), by, role="many")["read"] > 48_000
    assert bound(request("hi", max_tokens=5), by, role="many")["limit"] == 1_024
    assert bound(request("hi"), by, role="many") | {"read": 0} == bound(request("hi"), by, role="many") | {"read": 0}


PAID = Prices(
    input=1, output=5, cache_write=1.25, cache_write_1h=2, request=0.001, web_search=0.01,
    above=LongPromptPrices(tokens=1000, input=2, output=10), priority=TokenPrices(input=3, output=15),
)  # fmt: skip


def catalog(prices=PAID, **more):
    models = {**CATALOG.models, "haiku": ModelSpec(upstream="x", backends=("api",), max_tokens=50, usd_per_mtok=prices)}
    return CATALOG.model_copy(update={"models": models, **more})


def test_the_price_of_a_call_is_the_dearest_of_its_model():
    assert call_price(catalog(), "haiku") == CallPrice(
        input=2_000_000, output=5_000_000, request=1_000_000, web_search=10_000_000, answer=50, long_tokens=1000,
        long_input=2_000_000, long_output=10_000_000, priority=1, priority_input=3_000_000, priority_output=15_000_000,
    )  # fmt: skip
    assert call_price(catalog(Prices(input=1, output=5)), "haiku") == CallPrice(
        input=1_000_000, output=5_000_000, request=0, web_search=0, answer=50
    )
    assert call_price(catalog(Prices(input=1)), "haiku") is None
    assert call_price(catalog(None), "haiku") is None


def test_a_vector_has_no_tokens():
    spec = ModelSpec(upstream="x", backends=("api",), embeds=True, usd_per_mtok=Prices(input=1))
    price = call_price(CATALOG.model_copy(update={"models": {"haiku": spec}}), "haiku")
    assert price is not None
    assert (price.output, price.answer) == (0, 0)


def test_a_budget_counts_what_costs_and_meets_its_conditions():
    keyed = {
        "api": Backend(url="http://api", pool="cloud", api_key="k"),
        "more": Backend(url="http://api", pool="cloud"),
    }
    groups = (Group(name="bots", match=("*",), daily_usd=2), Group(name="others", match=("*",)))
    budgets = (
        Budget(name="all", usd=1), Budget(name="one", usd=1, model="opus"), Budget(name="at", usd=1, backend="more"),
        Budget(name="key", usd=1, key_of="api"), Budget(name="other-key", usd=1, key_of="more"),
    )  # fmt: skip
    by = catalog(backends={**CATALOG.backends, **keyed}, groups=groups, budgets=budgets)
    assert budgets_of(by, "api", "haiku") == ("all", "key", "group-bots")
    assert budgets_of(by, "box", "small") == (), "no budget counts what costs nothing"
    assert backend_budgets(by, "api") == ("all", "key", "group-bots")
    assert backend_budgets(by, "box") == ()
    assert [budget.usd for budget in all_budgets(by)] == [1, 1, 1, 1, 1, 2]
    assert is_counted(by, "one", "opus")
    assert not is_counted(by, "one", "haiku")
    assert not is_counted(by, "all", "gone")
