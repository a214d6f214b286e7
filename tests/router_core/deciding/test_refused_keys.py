"""A refused or limited key keeps a job from a model only when its backend has no other key."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.steps import Call, Handoff, Later
from openfall.router_core.vocabulary import ErrorClass, Fallback, Urgency
from tests.router_core.decisions import CATALOG, NOW, blocked, conditions, job, tried

AUTH, CREDITS = ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS
AWAY = Fallback.UNAVAILABLE
BOX = CATALOG.backends["box"].model_dump()
TWO_KEYS = Catalog.model_validate(
    {**dict(CATALOG), "backends": {**CATALOG.backends, "box": {**BOX, "api_keys": ["sk-one", "sk-two"]}}}
)
ONE_KEY = Catalog.model_validate(
    {**dict(CATALOG), "backends": {**CATALOG.backends, "box": {**BOX, "api_keys": ["sk-one", ""]}}}
)


@pytest.mark.parametrize("urgency", list(Urgency))
@pytest.mark.parametrize("error", [AUTH, CREDITS, ErrorClass.RATE_LIMITED])
def test_after_a_refused_or_limited_key_the_same_model_is_called_at_once_with_another_key(error, urgency):
    attempts = (tried("small", error, retry_after=600),)
    step = decide(job(urgency=urgency), TWO_KEYS, attempts, conditions(), NOW)
    assert isinstance(step, Later)
    assert (step.model, step.delay < 0.01) == ("small", True)
    assert decide(job(urgency=urgency), TWO_KEYS, attempts, conditions(), NOW + 0.01) == Call("small", 10)


@pytest.mark.parametrize(
    ("by", "attempts"),
    [
        pytest.param(ONE_KEY, [AUTH], id="its only key was refused"),
        pytest.param(CATALOG, [AUTH], id="it has no key"),
        pytest.param(TWO_KEYS, [AUTH, CREDITS], id="both of its keys were refused"),
        pytest.param(TWO_KEYS, [AUTH, *[ErrorClass.TIMEOUT] * 4], id="it failed too often with the other key"),
        pytest.param(TWO_KEYS, [ErrorClass.RATE_LIMITED] * 5, id="both of its keys were limited too often"),
        pytest.param(TWO_KEYS, [ErrorClass.NOT_INSTALLED, AUTH], id="it is not installed, whatever the key"),
    ],
)
def test_the_next_model_is_called_when(by, attempts):
    step = decide(job(), by, tuple(tried("small", error) for error in attempts), conditions(), NOW + 99)
    assert isinstance(step, Handoff)
    assert step.model == "large"


def test_calls_with_a_refused_key_do_not_count_as_tries_of_the_model():
    attempts = (*[tried("small", ErrorClass.TIMEOUT)] * 3, tried("small", AUTH))
    assert decide(job(), TWO_KEYS, attempts, conditions(), NOW + 50) == Call("small", 10)


def test_the_job_goes_on_when_the_other_key_is_blocked_too():
    step = decide(job(), TWO_KEYS, (tried("small", AUTH),), conditions(small=blocked()), NOW)
    assert step == Handoff("large", False, kind=AWAY)


def test_once_both_keys_are_limited_the_job_waits_as_long_as_the_provider_asked():
    attempts = (tried("small", ErrorClass.RATE_LIMITED, retry_after=9),) * 2
    step = decide(job(), TWO_KEYS, attempts, conditions(), NOW)
    assert isinstance(step, Later)
    assert step.delay >= 9


def test_a_backend_that_left_the_catalog_has_no_key():
    gone = Catalog.model_validate(
        {**dict(TWO_KEYS), "models": {**TWO_KEYS.models, "small": {"upstream": "small", "backends": ["api"]}},
         "backends": {"api": TWO_KEYS.backends["api"]}, "roles": {}, "tasks": {}} | {
            "models": {"small": {"upstream": "small", "backends": ["api"]},
                       "large": {"upstream": "large", "backends": ["api"]}}}
    )  # fmt: skip
    step = decide(job(), gone, (tried("small", AUTH),), conditions(), NOW)
    assert isinstance(step, Handoff)
