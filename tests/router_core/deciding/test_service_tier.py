"""The cheaper service tier: which jobs use it, and how a call goes back to the standard one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.service_tier import FLEX, FLEX_TIMEOUT_SECONDS, asked_tier, tier_signals
from openfall.router_core.deciding.steps import Call, Conditions, Later
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Failure
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, JobKind, Urgency

NOW = 1000.0
CATALOG = Catalog(
    backends={"api": Backend(url="http://127.0.0.1:1", pool="cloud")},
    models={
        "cheap": ModelSpec(upstream="gpt", backends=("api",), flex=True),
        "plain": ModelSpec(upstream="gpt", backends=("api",)),
    },
)
JOB = CompletionJob(
    id="job-00001", producer="t", chain=("cheap",), body={"messages": []}, urgency=Urgency.BATCH,
    deadline=NOW + 7200, accepted_at=NOW,
)  # fmt: skip
REFUSED = Attempt(
    model="cheap", backend="api", started_at=NOW, ended_at=NOW, error=ErrorClass.RATE_LIMITED, service_tier=FLEX
)


def test_a_job_with_time_asks_a_model_that_has_it_for_the_cheaper_tier_and_waits_longer():
    step = decide(JOB, CATALOG, (), Conditions("cheap"), NOW)
    assert isinstance(step, Call)
    assert (step.service_tier, step.timeout, step.stream_limits) == (FLEX, FLEX_TIMEOUT_SECONDS, None)


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        pytest.param({"urgency": Urgency.INTERACTIVE}, "cheap", id="a caller waits"),
        pytest.param({"deadline": NOW + 1799}, "cheap", id="its deadline is near"),
        pytest.param({"body": {"service_tier": "default"}}, "cheap", id="it names a tier itself"),
        pytest.param({"kind": JobKind.EMBEDDING}, "cheap", id="it is for embeddings"),
        pytest.param({}, "plain", id="the model does not have it"),
    ],
)
def test_other_calls_ask_for_none(changes, model):
    assert asked_tier(JOB.model_copy(update=changes), CATALOG, model, [], NOW) == ""


@pytest.mark.parametrize("error", [ErrorClass.RATE_LIMITED, ErrorClass.UNSUPPORTED, ErrorClass.TIMEOUT])
def test_a_refusal_of_the_tier_goes_back_to_the_standard_tier_of_the_same_model_and_counts_for_nothing(error):
    refused = replace(REFUSED, error=error)
    after = conclude(JOB, CATALOG, (refused,), Failure(error_class=error), Conditions("cheap"))
    assert isinstance(after, Later)
    assert (after.model, after.delay < 5) == ("cheap", True)
    step = decide(JOB, CATALOG, (refused,), Conditions("cheap"), NOW + after.delay)
    assert isinstance(step, Call)
    assert step.service_tier == ""
    signals = tier_signals(refused, CallSignal.FAILURE, CredentialSignal.COOLDOWN)
    assert signals == (CallSignal.NEUTRAL, CredentialSignal.FINE)


def test_a_refused_key_is_no_refusal_of_the_tier():
    refused = replace(REFUSED, error=ErrorClass.AUTH)
    assert tier_signals(refused, CallSignal.NEUTRAL, CredentialSignal.PARK)[1] is CredentialSignal.PARK
    standard = replace(REFUSED, service_tier="")
    assert tier_signals(standard, CallSignal.NEUTRAL, CredentialSignal.COOLDOWN)[1] is CredentialSignal.COOLDOWN
