"""What follows a fall whose reason, or one of whose obstacles, is a budget."""

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.jobs.over_budget import OverBudget, OverCause
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.decisions import CATALOG, CLOUD, NOW, blocked, catalog, job
from tests.router_core.degrading.test_degrade import fell, land

OVER = OverBudget("house", NOW + 500, OverCause.SPENT, 5, 0, 0, 5, 1)
BUDGETED = CATALOG.model_copy(update={"budgets": (Budget(name="house", usd=1),)})


def test_a_job_that_fell_for_a_budget_returns_when_that_resets():
    held = land(CATALOG, of=job(CLOUD), fallen=fell(HoldReason.BUDGET, over=OVER))
    assert (held.reason, held.ready_at, held.models) == (HoldReason.BUDGET, OVER.until, CLOUD)


def test_a_local_model_that_was_away_releases_a_job_that_no_budget_keeps_from_it():
    of = job(("small", "haiku"))
    held = land(BUDGETED, of=of, fallen=fell(HoldReason.OUTAGE, over=OVER, falls=4), small=blocked())
    assert (held.reason, held.models, held.strikes) == (HoldReason.OUTAGE, ("small",), 0)


def test_a_model_that_the_budget_counts_does_not_release_a_late_job_if_another_one_can():
    by = catalog(cloud=Cloud.WHEN_LATE).model_copy(update={"budgets": (Budget(name="house", usd=1, model="opus"),)})
    held = land(by, of=job(("small", "opus", "haiku")), fallen=fell(HoldReason.OUTAGE, over=OVER), small=blocked())
    assert (held.models, held.late_models, held.late_at) == (("small",), ("haiku",), NOW + 30)


def test_every_model_of_a_job_releases_it_if_the_budget_counts_them_all():
    fallen = fell(HoldReason.OUTAGE, over=OVER, falls=1)
    held = land(BUDGETED, of=job(CLOUD), fallen=fallen, **dict.fromkeys(CLOUD, blocked()))
    assert (held.reason, held.models, held.ready_at) == (HoldReason.OUTAGE, CLOUD, 0.0)
