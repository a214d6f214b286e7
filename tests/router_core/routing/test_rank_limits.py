"""The order of a chain when a provider's limit of requests lets a model wait."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.routing.fleet_state import Blocked, ModelState
from openfall.router_core.vocabulary import BlockReason
from tests.router_core.routing.test_rank import BACKGROUND, BATCH, INTERACTIVE, NOW, cloud, context, ranked

MODELS = {"opus": cloud(), "haiku": cloud()}


def limited(seconds: float, **fields: object) -> ModelState:
    limit = Blocked(BlockReason.LIMIT, NOW + seconds, f"its limit is reached, free in {seconds:.0f} s")
    return ModelState(**{"limited": limit, "seconds_per_call": 2.0, "free": 0, **fields})


def test_an_interactive_job_waits_for_a_limit_as_long_as_it_may_start_late() -> None:
    on = context(INTERACTIVE, Order.AS_WRITTEN)
    assert ranked(MODELS, {"opus": limited(29)}, on) == {
        "opus": "1st in role ace; its limit is reached, free in 29 s", "haiku": "2nd in role ace",
    }  # fmt: skip
    assert ranked(MODELS, {"opus": limited(31)}, on) == {
        "haiku": "2nd in role ace", "opus": "moved back: its limit is reached, free in 31 s",
    }  # fmt: skip


def test_the_jobs_before_it_start_at_the_pace_of_the_limit() -> None:
    on = context(INTERACTIVE, Order.AS_WRITTEN)
    paced = ModelState(seconds_per_call=2.0, waiting=15, latency=0.1)
    assert list(ranked(MODELS, {"opus": paced}, on)) == ["opus", "haiku"]
    paced = ModelState(seconds_per_call=2.0, waiting=16, latency=0.1)
    assert list(ranked(MODELS, {"opus": paced}, on)) == ["haiku", "opus"]
    assert list(ranked(MODELS, {"opus": limited(29, waiting=1, latency=0.1)}, on)) == ["haiku", "opus"], "29 s and 2 s"


@pytest.mark.parametrize("urgency", [BACKGROUND, BATCH])
def test_a_job_with_time_waits_for_the_limit_of_its_first_model(urgency: object) -> None:
    on = context(urgency, Order.AS_WRITTEN)
    assert list(ranked(MODELS, {"opus": limited(20)}, on)) == ["opus", "haiku"]
