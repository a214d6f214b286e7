"""A refusal that a model gave before the last call: when it is the answer of the job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.steps import Done, Fall, Handoff
from openfall.router_core.jobs.outcome import Answer, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.decisions import CATALOG, NOW, blocked, completion, conditions, job, tried

REFUSED = completion("I won't.")
KEPT = Answer("small", "box", REFUSED, is_refusal=True)
EARLIER = Done(REFUSED, answer=KEPT)


def end(error: E, refusal: Answer | None = KEPT, at: float = NOW, **models: object) -> object:
    """The step after the second model of a chain has failed. The first one has refused."""
    attempts = [tried("small", E.CONTENT_FILTER), tried("large", error, ended_at=at)]
    when = replace(conditions("large", **models), refusal=refusal)
    return conclude(job(), CATALOG, attempts, Failure(error_class=error, detail="no"), when)


@pytest.mark.parametrize("error", [E.UNSUPPORTED, E.CONTEXT_OVERFLOW, E.BAD_REQUEST])
def test_a_job_that_no_model_can_take_after_one_has_refused_is_answered_by_that_refusal(error: E) -> None:
    done = end(error)
    assert done == EARLIER
    assert isinstance(done, Done)
    assert done.why == "small: it refused, and no other model answers"


def test_a_job_whose_last_model_gives_no_answer_that_passes_is_answered_by_the_refusal() -> None:
    attempts = [tried("small", E.CONTENT_FILTER), tried("large", E.INVALID_OUTPUT), tried("large", E.INVALID_OUTPUT)]
    when = replace(conditions("large"), refusal=KEPT)
    failed = Failure(error_class=E.INVALID_OUTPUT)
    assert conclude(job(), CATALOG, attempts, failed, when) == EARLIER
    held = conclude(job(), CATALOG, attempts, failed, replace(when, refusal=None))
    assert isinstance(held, Fall)
    assert held.reason is HoldReason.OWN_FAULT


def test_a_job_whose_deadline_passes_is_answered_by_the_refusal() -> None:
    attempts = [tried("small", E.CONTENT_FILTER)]
    assert decide(job(), CATALOG, attempts, replace(conditions("large"), refusal=KEPT), NOW + 101) == Done(REFUSED)


def test_a_job_that_was_cancelled_is_answered_by_no_refusal() -> None:
    step = end(E.CANCELLED)
    assert isinstance(step, Done)
    assert isinstance(step.outcome, Failure)


def test_a_job_waits_for_a_model_that_is_away_although_another_has_refused() -> None:
    attempts = [tried("small", E.CONTENT_FILTER)]
    step = decide(job(), CATALOG, attempts, replace(conditions("large", large=blocked()), refusal=KEPT), NOW)
    assert isinstance(step, Fall)
    assert step.reason is HoldReason.OUTAGE


def test_the_next_model_is_called_although_one_has_refused_and_the_last_refusal_counts() -> None:
    refused = Failure(error_class=E.CONTENT_FILTER, refusal=REFUSED)
    attempts = [tried("small", E.CONTENT_FILTER)]
    assert isinstance(conclude(job(), CATALOG, attempts, refused, conditions("small")), Handoff)
    last = replace(refused, refusal=completion("Nor will I."))
    when = replace(conditions("large"), refusal=KEPT)
    both = [*attempts, tried("large", E.CONTENT_FILTER)]
    assert conclude(job(), CATALOG, both, last, when) == Done(completion("Nor will I."))


def test_a_role_that_accepts_refusals_takes_the_first() -> None:
    roles = {"frank": Role(chain=("small", "large"), accept_refusals=True)}
    taking = Catalog.model_validate({**dict(CATALOG), "roles": roles})
    refused = Failure(error_class=E.CONTENT_FILTER, refusal=REFUSED)
    attempts = [tried("small", E.CONTENT_FILTER)]
    assert conclude(job(role="frank"), taking, attempts, refused, conditions("small")) == Done(REFUSED)
