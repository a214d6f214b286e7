"""A route knows which budgets are spent: their models come last, with the reason, and come first again after that."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import CallOwner
from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState, SpentBudget
from openfall.router_core.routing.route import route
from openfall.router_core.routing.spent_budgets import block_spent
from openfall.router_core.state.budget_book import BudgetState, spent_budgets
from openfall.router_core.vocabulary import BlockReason, Urgency

HOUSE, NIGHT = Budget(name="house", usd=5, group="bots"), Budget(name="night", usd=1, each=Each.PRODUCER)
CATALOG = Catalog(
    backends={
        "api": Backend(url="http://127.0.0.1:1", pool="cloud"),
        "plan": Backend(url="http://127.0.0.1:2", pool="cloud", billing=Billing.FLAT),
    },
    models={
        "paid": ModelSpec(upstream="paid", backends=("api",), max_tokens=9, usd_per_mtok=Prices(input=1.0, output=1.0)),
        "both": ModelSpec(
            upstream="both", backends=("api", "plan"), max_tokens=9, usd_per_mtok=Prices(input=1.0, output=1.0)
        ),
        "flat": ModelSpec(upstream="flat", backends=("plan",)),
    },
    roles={"chat": Role(chain=("paid", "both", "flat"))},
    groups=(Group(name="bots", match=("bot:*",)),),
    budgets=(HOUSE, NIGHT),
)
SPENT = SpentBudget(1000.0, "budget house is spent: $5.00 of $5.00")


def routed(spent: dict[str, SpentBudget], urgency: Urgency = Urgency.INTERACTIVE, **request):
    request = {"role": "chat", "group": "bot:1", "producer": "p", **request}
    return route(CATALOG, lambda _: FleetState(spent=spent), RouteRequest(urgency=urgency, **request), 100.0)


@pytest.mark.parametrize("urgency", list(Urgency))
def test_a_model_whose_budget_is_spent_comes_behind_the_others_with_the_reason(urgency):
    plan = routed({"house": SPENT}, Urgency.INTERACTIVE)
    assert plan.chain == ("both", "flat", "paid")
    reasons = {model.model: model.reason for model in plan.considered}
    assert reasons["paid"] == "moved back: budget house is spent: $5.00 of $5.00"
    assert "paid moved back: budget house is spent" in plan.reason


def test_a_job_with_time_waits_for_a_budget_that_resets_within_its_start_within():
    soon = {"house": SpentBudget(101.0, "x")}
    assert routed(soon, Urgency.BACKGROUND).chain[0] == "paid"
    assert routed({"house": SPENT}, Urgency.BACKGROUND).chain[0] == ("paid" if SPENT.until < 100 + 120 else "both")


def test_a_budget_that_does_not_count_the_job_moves_nothing():
    assert routed({"house": SPENT}, group=None).chain[0] == "paid"
    assert routed({"night:other": SPENT}).chain[0] == "paid"
    assert routed({"night:p": SPENT}).chain[0] == "both"
    assert routed({}).chain[0] == "paid"


def test_a_model_with_a_backend_that_costs_nothing_and_a_blocked_model_stay_as_they_are():
    away = Blocked(BlockReason.PAUSED, 5.0, "paused")
    fleet = FleetState({"paid": ModelState(blocked=away)}, spent={"night:p": SPENT, "house": SPENT})
    owner = CallOwner(group="bots", producer="p")
    blocked = block_spent(CATALOG, fleet, ("paid", "both", "flat"), owner)
    assert [blocked.model(alias).blocked for alias in ("paid", "both", "flat")] == [away, None, None]


def state(used: int, limit: int = 100, reserved_interactive: float = 0.0, ends_at: float = 50.0) -> BudgetState:
    budget = Budget(name="b", usd=1, reserved_interactive=reserved_interactive, per=Period.DAY)
    return BudgetState(budget=budget, window="w", ends_at=ends_at, limit=limit, spent=used)


def test_a_share_that_is_reserved_for_interactive_jobs_is_spent_for_the_others_only():
    states = [state(80, reserved_interactive=0.2)]
    assert spent_budgets(states, Urgency.INTERACTIVE) == {}
    assert spent_budgets(states, Urgency.BATCH)["b"].until == 50.0
    assert spent_budgets([state(0, limit=0)], Urgency.INTERACTIVE)["b"].detail == "budget b is spent: $0.00 of $0.00"
    assert spent_budgets([state(100, ends_at=253402300799.0)], Urgency.BATCH)["b"].until == FOREVER
