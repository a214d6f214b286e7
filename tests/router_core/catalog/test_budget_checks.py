"""Contradictions of budgets."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing, Pool

POOLS = {"gpu": Pool(local=True), "cloud": Pool(local=False)}
BACKENDS = {
    "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
    "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
    "plan": Backend(url="https://example.invalid/v2", pool="cloud", billing=Billing.FLAT),
}
HOUSE = Budget(name="house", usd=1)


def problems_of(**parts: object) -> list[str]:
    models = {"coder": ModelSpec(upstream="coder:32b", backends=("tower",))}
    try:
        Catalog.model_validate({"pools": POOLS, "backends": BACKENDS, "models": models, **parts})
    except ValidationError as caught:
        return [str(problem) for problem in caught.errors()[0]["ctx"]["error"].problems]
    return []


def test_a_budget_of_a_group_that_does_not_exist_is_reported_with_the_nearest() -> None:
    main = Group(name="main", match=("*",), chain=("coder",))
    assert problems_of(groups=(main,), budgets=(Budget(name="bots", usd=1, group="main"),)) == []
    assert problems_of(groups=(main,), budgets=(Budget(name="bots", usd=1, group="mian"),)) == [
        "budgets.bots.group: unknown group 'mian'. Did you mean 'main'?"
    ]


def test_the_name_of_a_groups_daily_budget_belongs_to_it_alone() -> None:
    main = Group(name="main", match=("*",), chain=("coder",), daily_usd=1)
    assert problems_of(groups=(main,), budgets=(Budget(name="group-main", usd=1),)) == [
        "budgets.group-main.name: this name is that of a group's daily_usd"
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlim", "../etc/passwd", "Europe"])
def test_a_budget_names_a_time_zone_that_exists(zone: str) -> None:
    assert problems_of(budgets=(Budget(name="house", usd=1, timezone=zone),)) == [
        "budgets.house.timezone: no such time zone: write one such as Europe/Berlin, or UTC"
    ]


@pytest.mark.parametrize(
    ("backend", "needs_limit"), [("tower", False), ("provider", True), ("plan", False), ("unknown", False)]
)
def test_a_budget_needs_the_longest_answer_of_each_model_that_is_paid_by_the_token(
    backend: str, needs_limit: bool
) -> None:
    models = {"model": ModelSpec(upstream="x", backends=(backend,))}
    expected = "models.model: a budget needs the limit of an answer whose request has none: set max_tokens"
    assert (expected in problems_of(models=models, budgets=(HOUSE,))) is needs_limit
    assert expected not in problems_of(models=models)
    limited = {"model": ModelSpec(upstream="x", backends=(backend,), max_tokens=100)}
    assert expected not in problems_of(models=limited, budgets=(HOUSE,))


def test_an_embedding_needs_no_longest_answer() -> None:
    models = {"vectors": ModelSpec(upstream="text-embedding-3-small", backends=("provider",))}
    assert problems_of(models=models, budgets=(HOUSE,)) == []


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"model": "codar"}, "budgets.b.model: unknown model 'codar'. Did you mean 'coder'?"),
        ({"backend": "provder"}, "budgets.b.backend: unknown backend 'provder'. Did you mean 'provider'?"),
        ({"key_of": "towr"}, "budgets.b.key_of: unknown backend 'towr'. Did you mean 'tower'?"),
        ({"role": "chat"}, "budgets.b.role: unknown role 'chat'. Known: none."),
        ({"task": "code"}, "budgets.b.task: unknown task 'code'. Known: none."),
    ],
)
def test_a_budget_for_what_does_not_exist_is_reported_since_it_would_count_nothing(
    scope: dict[str, str], message: str
) -> None:
    assert problems_of(budgets=(Budget(name="b", usd=1, **scope),)) == [message]


def test_the_cheaper_service_tier_is_one_of_the_openai_protocol() -> None:
    backends = BACKENDS | {"claude": Backend(url="https://example.invalid", pool="cloud", protocol="anthropic")}
    models = {"a": ModelSpec(upstream="x", backends=("provider",), flex=True)}
    assert problems_of(backends=backends, models=models) == []
    models = {"a": ModelSpec(upstream="x", backends=("claude",), flex=True)}
    assert problems_of(backends=backends, models=models) == [
        "models.a.flex: only backends of the openai protocol have it: remove it"
    ]
