"""How a job is held: what releases it, how long it pauses before, and its strikes."""

from __future__ import annotations

from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import CATALOG, CLOUD, NOW, blocked, catalog, job, tried
from tests.router_core.degrading.test_degrade import OUTAGE, OWN, POISONED, SWITCH, WHY, fell, kept, land


def test_no_model_releases_a_job_that_needs_an_operator():
    for reason in (OWN, POISONED):
        assert land(CATALOG, fallen=fell(reason), opus=blocked()) == kept(reason=reason, detail=WHY)


def test_a_model_that_the_job_may_never_use_does_not_release_it():
    of = job(("small", "gone", "opus"), local_only=True)
    assert land(CATALOG, of).models == ("small",)
    assert land(CATALOG, job(("opus",), local_only=True), fell(SWITCH)).models == ()


def test_the_switch_of_the_fleet_ends_and_its_models_release_then():
    held = land(CATALOG, job(("opus", "haiku")), fell(SWITCH), local_only=True, small=blocked())
    assert (held.models, held.ready_at) == (("opus", "haiku"), 0.0)


def test_a_job_that_fell_while_a_model_took_calls_pauses_before_its_release():
    held = land(CATALOG, small=blocked())
    assert (held.ready_at, held.strikes) == (NOW + 5, 0)


def test_the_pause_doubles_with_each_strike():
    second = land(CATALOG, fallen=fell(falls=2), small=blocked())
    assert (second.ready_at, second.strikes) == (NOW + 10, 1)
    third = land(CATALOG, fallen=fell(falls=3, strikes=1), small=blocked())
    assert (third.ready_at, third.strikes) == (NOW + 20, 2)


def test_the_third_strike_makes_it_the_jobs_own_fault():
    held = land(CATALOG, fallen=fell(falls=4, strikes=2), small=blocked())
    detail = f"fell 3 times while large took calls; last: {WHY}"
    assert held == kept(reason=OWN, detail=detail, strikes=3)


def test_an_outage_of_days_costs_nothing():
    held = land(CATALOG, fallen=fell(falls=99, strikes=2))
    assert (held.reason, held.strikes, held.ready_at) == (OUTAGE, 2, 0.0)


def test_a_model_whose_answers_failed_the_checks_does_not_release_the_job():
    attempts = (tried("large", E.INVALID_OUTPUT), tried("large", E.INVALID_OUTPUT))
    held = land(CATALOG, fallen=fell(attempts=attempts), small=blocked())
    assert (held.reason, held.models, held.ready_at) == (OUTAGE, ("small",), 0.0)


def test_a_released_job_whose_answers_fail_the_checks_again_is_held_for_its_own_fault():
    attempts = (tried("small", E.AUTH), tried("large", E.INVALID_OUTPUT), tried("large", E.INVALID_OUTPUT))
    held = land(CATALOG, fallen=fell(attempts=attempts, falls=2), small=blocked())
    assert (held.reason, held.models) == (OWN, ())
    assert held.detail == f"its answers failed their checks again; last: {WHY}"


def test_only_an_outage_strikes():
    held = land(CATALOG, fallen=fell(SWITCH, falls=5, strikes=2), small=blocked())
    assert (held.reason, held.strikes, held.ready_at) == (SWITCH, 2, NOW + 20)


def test_a_model_that_is_kept_for_late_jobs_does_not_strike_and_releases_the_job_once_it_is_late():
    of, by = job(("small", "opus")), catalog(cloud=Cloud.WHEN_LATE)
    held = land(by, of, fell(falls=9, strikes=2), small=blocked())
    assert (held.reason, held.models, held.ready_at, held.strikes) == (OUTAGE, ("small",), 0.0, 2)
    assert (held.late_models, held.late_at) == (("opus",), NOW + 30)


def test_the_models_of_a_late_job_and_of_one_without_a_local_model_release_it_at_once():
    by = catalog(cloud=Cloud.WHEN_LATE)
    for of, now in ((job(("small", "opus")), NOW + 30), (job(CLOUD), NOW)):
        held = land(by, of, now=now, small=blocked(), opus=blocked(), haiku=blocked())
        assert (held.models, held.late_models, held.late_at) == (of.chain, (), 0.0)
