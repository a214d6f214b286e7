"""The conditions under which an incident is over, and whether a chain of an outage is served."""

from __future__ import annotations

import pytest

from openfall.router_core.degrading.incident_end import (
    FLAT_PLAN_QUIET_SECONDS,
    MONEY_QUIET_SECONDS,
    QUIET_SECONDS,
    end_conditions,
    has_unserved_chain,
)
from openfall.router_core.routing.fleet_state import FleetState, ModelState
from openfall.router_core.vocabulary import FLAT_PLAN, UNEXPECTED_SPEND, BlockReason, HoldReason, Urgency
from tests.router_core.decisions import blocked

MODELS = ("small", "large")
AWAY, WELL = blocked(), ModelState()
PAUSED, LOCAL_ONLY = blocked(reason=BlockReason.PAUSED), blocked(reason=BlockReason.LOCAL_ONLY)


@pytest.mark.parametrize(
    ("reason", "quiet", "true"),
    [
        (
            HoldReason.OUTAGE,
            QUIET_SECONDS,
            {"of_jobs", "ends_with_answer", "releases_itself", "needs_served_chains", "sends_notice"},
        ),
        (HoldReason.BUDGET, QUIET_SECONDS, {"of_jobs", "releases_itself"}),
        (HoldReason.POISONED, QUIET_SECONDS, {"of_jobs"}),
        (FLAT_PLAN, FLAT_PLAN_QUIET_SECONDS, {"sends_notice"}),
        (UNEXPECTED_SPEND, MONEY_QUIET_SECONDS, set()),
    ],
)
def test_each_kind_of_incident_has_its_own_conditions(reason, quiet, true):
    conditions = end_conditions(reason)
    names = ("of_jobs", "ends_with_answer", "releases_itself", "needs_served_chains", "sends_notice")
    assert conditions.quiet_seconds == quiet
    assert {name for name in names if getattr(conditions, name)} == true


@pytest.mark.parametrize(
    ("chains", "states", "unserved"),
    [
        ((), {}, False),
        (("small",), {"small": AWAY}, True),
        (("small,large",), {"small": AWAY, "large": WELL}, False),
        (("small,large", "small"), {"small": AWAY, "large": WELL}, True),
        (("small",), {"small": PAUSED}, False),
        (("small",), {"small": LOCAL_ONLY}, False),
        (("small,large",), {"small": PAUSED, "large": AWAY}, True),
        (("gone",), {"gone": AWAY}, False),
    ],
    ids=[
        "no chain", "its only model is away", "another model takes calls", "one of two chains has no model",
        "an operator paused it", "an operator keeps jobs local", "one paused, the other away", "not in the catalog",
    ],
)  # fmt: skip
def test_a_chain_is_unserved_while_all_models_that_count_are_away(chains, states, unserved):
    fleet = {Urgency.BATCH: FleetState(states)}
    assert has_unserved_chain(chains, {"batch"}, fleet, MODELS) is unserved


@pytest.mark.parametrize(("urgencies", "unserved"), [({"interactive"}, True), ({"batch"}, False), ((), True)])
def test_only_the_urgencies_that_fell_are_examined_and_all_if_none_is_known(urgencies, unserved):
    fleet = {Urgency.INTERACTIVE: FleetState({"small": AWAY}), Urgency.BATCH: FleetState({"small": WELL})}
    assert has_unserved_chain(("small",), urgencies, fleet, MODELS) is unserved
