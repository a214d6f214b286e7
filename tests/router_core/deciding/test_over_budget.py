"""What a job does whose call does not fit into a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.budget_windows import NEVER_ENDS
from openfall.router_core.catalog.budgets import Budget, OverKind
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.steps import Call, Conditions, Done, Fall, Handoff, Later
from openfall.router_core.jobs.outcome import Answer, Failure
from openfall.router_core.jobs.over_budget import OverBudget, OverCause
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import ErrorClass, Fallback, HoldReason
from tests.router_core.decisions import CATALOG, CLOUD, NOW, blocked, completion, job

LOCAL, WAIT, REFUSE = OverKind.LOCAL, OverKind.WAIT, OverKind.REFUSE
OVER = OverBudget("house", NOW + 5000, OverCause.SPENT, 3_000_000_000, 0, 0, 5_000_000_000, 2_500_000_000)
RESERVED = replace(OVER, cause=OverCause.RESERVED, spent=0, reserved=4_000_000_000)
ABOVE_LIMIT = replace(OVER, cause=OverCause.ABOVE_LIMIT)
UNPRICED = replace(OVER, cause=OverCause.UNPRICED)
MIXED = ("haiku", "small")


def budgeted(*then, **fields):
    return CATALOG.model_copy(update={"budgets": (Budget(name="house", usd=5, then=then or (LOCAL, WAIT), **fields),)})


def step(over, *then, of=CLOUD, current=None, default_fallback=False, answers=(), by=None, **models):
    conditions = Conditions(
        current or of[0], fleet=FleetState(models), over=over, default_fallback=default_fallback, answers=answers
    )
    return decide(job(of, deadline=NOW + 90_000), by or budgeted(*then), (), conditions, NOW)


def test_a_model_whose_calls_cost_nothing_goes_first():
    assert step(OVER, of=MIXED) == Handoff("small", False, kind=Fallback.POLICY)
    assert step(ABOVE_LIMIT, of=MIXED) == Handoff("small", False, kind=Fallback.POLICY)
    assert step(UNPRICED, of=MIXED) == Handoff("small", False, kind=Fallback.POLICY)


def test_without_one_the_job_falls_and_no_other_model_that_the_budget_counts_is_called():
    fall = step(OVER)
    assert isinstance(fall, Fall)
    assert (fall.reason, fall.over) == (HoldReason.BUDGET, OVER)
    assert fall.detail.endswith(
        "haiku: budget house: $3.00 of its $5.00 are spent, it renews at 1970-01-01 01:40 UTC, and this call may cost "
        "$2.50. Wait until it renews, or raise it: openfall budgets raise house USD"
    )


def test_a_budget_without_an_end_names_no_renewal():
    over = replace(OVER, budget="house:anna", until=NEVER_ENDS, unconfirmed=500_000_000, reserved=1_000_000_000)
    assert over.message == (
        "budget house:anna: $3.00 of its $5.00 are spent, $0.5 may have been billed, $1.00 are reserved by calls in "
        "flight, and this call may cost $2.50. It does not renew. Raise it: openfall budgets raise house USD"
    )


def test_a_refusal_for_a_budget_says_what_to_do():
    done = step(OVER, REFUSE)
    assert isinstance(done, Done)
    assert done.outcome == Failure(error_class=ErrorClass.BUDGET, detail=OVER.message)


def test_a_budget_of_one_model_leaves_the_others_free():
    assert step(OVER, by=budgeted(model="opus"), of=CLOUD) == Handoff("haiku", False, kind=Fallback.POLICY)


@pytest.mark.parametrize("then", [(), (WAIT,), (LOCAL,), (WAIT, REFUSE)])
def test_a_call_of_unknown_price_is_refused_with_its_remedy(then):
    done = step(UNPRICED, *then)
    assert isinstance(done, Done)
    assert done.outcome == Failure(error_class=ErrorClass.BUDGET, detail=UNPRICED.detail)
    assert "usd_per_mtok" in UNPRICED.detail


@pytest.mark.parametrize("limit", [0, 1, 2_499_999_999])
@pytest.mark.parametrize(("then", "kind"), [((), Fall), ((WAIT,), Fall), ((LOCAL,), Fall), ((WAIT, REFUSE), Fall),
                                            ((REFUSE,), Done), ((LOCAL, REFUSE), Done)])  # fmt: skip
def test_a_call_above_a_limit_that_was_lowered_waits_as_the_budget_says_and_names_its_remedies(limit, then, kind):
    over = replace(ABOVE_LIMIT, limit=limit)
    outcome = step(over, *then)
    assert isinstance(outcome, kind)
    detail = outcome.detail if isinstance(outcome, Fall) else outcome.outcome.detail
    assert "Set a smaller max_tokens, or raise the budget: openfall budgets raise house USD" in detail


def test_refuse_ends_the_job_and_local_before_it_does_not_while_a_local_model_may_answer():
    assert isinstance(step(OVER, REFUSE, of=MIXED), Done)
    assert isinstance(step(OVER, LOCAL, REFUSE), Done)
    assert step(OVER, LOCAL, REFUSE, of=MIXED) == Handoff("small", False, kind=Fallback.POLICY)
    assert isinstance(step(OVER, WAIT, REFUSE), Fall)
    assert isinstance(step(OVER, LOCAL), Fall)


def test_calls_in_flight_that_have_reserved_the_rest_are_waited_for():
    assert step(RESERVED) == Later("opus", 1.0)
    assert step(RESERVED, REFUSE) == Later("opus", 1.0), "they end soon, and the call may fit then"
    assert step(RESERVED, of=MIXED) == Handoff("small", False, kind=Fallback.POLICY)


def test_a_local_model_that_is_away_makes_it_an_outage_that_its_return_ends():
    fall = step(OVER, of=MIXED, small=blocked())
    assert isinstance(fall, Fall)
    assert (fall.reason, fall.over) == (HoldReason.OUTAGE, OVER)


def test_an_ensemble_with_an_answer_calls_no_further_model_that_does_not_fit():
    answers = (Answer("small", "box", completion()),)
    done = step(OVER, of=("small", "haiku"), current="haiku", answers=answers)
    assert isinstance(done, Done | Handoff)
    assert not isinstance(done, Call)


def test_a_default_fallback_that_does_not_fit_is_not_called():
    fall = step(OVER, of=("small",), current="haiku", default_fallback=True)
    assert isinstance(fall, Fall)
    assert fall.reason is HoldReason.OUTAGE


def test_a_budget_that_is_not_in_the_configuration_any_more_waits_as_by_default():
    assert isinstance(step(OVER, by=CATALOG), Call), "its worker claims again with the new configuration"
    unknown = replace(OVER, budget="other")
    assert isinstance(step(unknown, by=budgeted()), Call)


def test_the_details_of_sums():
    over = replace(OVER, unconfirmed=10_000_000, reserved=1)
    assert "$0.01 may have been billed" in over.detail
    assert "$1e-09 are reserved by calls in flight" in over.detail
    assert replace(OVER, budget="each:bot").name == "each"
