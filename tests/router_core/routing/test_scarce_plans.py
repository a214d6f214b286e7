"""A subscription that is nearly used up serves people: jobs with time go to own machines first."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.route import route
from openfall.router_core.state.subscription_plans import PlanState, scarce_models
from openfall.router_core.vocabulary import Urgency

CATALOG = Catalog(
    backends={
        "plan": Backend(
            url="http://127.0.0.1:1", pool="cloud", billing=Billing.FLAT, plan_windows=(18_000.0,),
            api_keys=("sk-0123456789", "sk-9876543210"),
        ),
        "box": Backend(url="http://127.0.0.1:2", pool="gpu"),
    },
    models={
        "flat": ModelSpec(upstream="flat", backends=("plan",)),
        "home": ModelSpec(upstream="home", backends=("box",)),
    },
    roles={"chat": Role(chain=("flat", "home")), "only": Role(chain=("flat",))},
)  # fmt: skip


def routed(urgency: Urgency, role: str = "chat"):
    fleet = FleetState(scarce=frozenset({"flat"}))
    return route(CATALOG, lambda _: fleet, RouteRequest(role=role, urgency=urgency), 0.0)


@pytest.mark.parametrize("urgency", [Urgency.BACKGROUND, Urgency.BATCH])
def test_jobs_with_time_go_to_own_machines_first_with_the_reason(urgency):
    plan = routed(urgency)
    assert plan.chain == ("home", "flat")
    assert "flat behind the local models: its subscription is nearly used up" in plan.reason


def test_people_are_served_by_the_subscription_and_so_is_a_chain_without_an_own_machine():
    assert routed(Urgency.INTERACTIVE).chain == ("flat", "home")
    assert routed(Urgency.BATCH, "only").chain == ("flat",)


def window(number: int, calls: int, cap: int | None = 100) -> PlanState:
    return PlanState(backend="plan", number=number, window_seconds=18_000.0, calls=calls, resets_at=1.0, cap=cap)


@pytest.mark.parametrize(
    ("plans", "scarce"),
    [
        ([window(1, 80), window(2, 95)], {"flat"}),
        ([window(1, 80)], set()),
        ([window(1, 80), window(2, 79)], set()),
        ([window(1, 80), window(2, 95, None)], set()),
        ([], set()),
    ],
    ids=["each key is nearly used up", "a key without calls", "a key with calls left", "a cap is not known", "none"],
)
def test_a_model_is_scarce_if_each_key_of_its_backend_is_nearly_used_up(plans, scarce):
    assert scarce_models(plans, CATALOG) == scarce
