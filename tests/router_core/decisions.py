"""A catalog, jobs, attempts and fleets for the tests of decisions."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import Cloud, UrgencyPolicy
from openfall.router_core.deciding.steps import Conditions
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, ErrorClass, Urgency

LOCAL, CLOUD = ("small", "large"), ("opus", "haiku")
NOW = 1_000.0
EVEN = 0.5
"""The jitter that spreads neither way."""


def catalog(*, cloud=Cloud.YES, local_only=False, ensemble=None, **retry):
    """Two local models and two in the cloud; `start_within` is 30 s. Role `many` calls all four, as an ensemble."""
    return Catalog(
        backends={"box": Backend(url="http://box", pool="gpu"), "api": Backend(url="http://api", pool="cloud")},
        models={
            "small": ModelSpec(upstream="small", backends=("box",), timeout=10, quality={"default": 0.3, "code": 0.6}),
            "large": ModelSpec(upstream="large", backends=("box",), timeout=10, quality={"default": 0.5}),
            "opus": ModelSpec(upstream="opus", backends=("api",), timeout=10, quality={"code": 0.9}),
            "haiku": ModelSpec(upstream="haiku", backends=("api",), timeout=10),
        },
        roles={"many": Role(chain=(*LOCAL, *CLOUD), ensemble=ensemble or Ensemble(answers=2))},
        tasks={"code": TaskType(chain=LOCAL)},
        urgency={word: UrgencyPolicy(start_within=30, expires_after=3600, allow_cloud=cloud) for word in Urgency},
        retry=RetryPolicy(**retry),
        local_only=local_only,
    )


CATALOG = catalog()
PATIENT = Catalog.model_validate({
    **dict(CATALOG),
    "urgency": {
        **CATALOG.urgency,
        Urgency.INTERACTIVE: UrgencyPolicy(start_within=5, expires_after=3600),
        Urgency.BATCH: UrgencyPolicy(start_within=3600, expires_after=86400),
    },
})  # fmt: skip
"""A batch job may take an hour to start."""


def job(chain=LOCAL, **more):
    """Accepted at `NOW`, with 100 s to its deadline."""
    given = {"urgency": Urgency.BACKGROUND, "deadline": NOW + 100, "accepted_at": NOW, "body": {}} | more
    return CompletionJob(id="job-00001", producer="tests", chain=chain, **given)


def tried(model, error=ErrorClass.TIMEOUT, ended_at=NOW, **more):
    return Attempt(model=model, backend="box", started_at=ended_at, ended_at=ended_at, error=error, **more)


def blocked(until=FOREVER, reason=BlockReason.BREAKER, detail="its breaker is open"):
    return ModelState(blocked=Blocked(reason, until, detail))


def conditions(current_model="small", *, local_only=False, answers=(), may_retry=True, **models):
    return Conditions(current_model, EVEN, FleetState(models, local_only), answers, may_retry=may_retry)


def completion(text="an answer", **more):
    return Completion(text=text, finish_reason="stop", **more)


def case(name, step, *, of=None, tried=(), when=None, at=NOW, by=CATALOG):
    """One row for `decide`: the expected step, the job, its attempts, the conditions, the moment and the catalog."""
    return pytest.param(of or job(), tried, when or conditions(), at, by, step, id=name)
