"""A reached limit of requests or tokens: a job goes to another model, or waits; it never falls for it."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.deciding.steps import Handoff, Later
from openfall.router_core.vocabulary import BlockReason, Urgency
from tests.router_core.decisions import CATALOG, NOW, blocked, conditions, job

LIMITED = blocked(NOW + 70, BlockReason.LIMIT, "its limit of 1 request a minute is reached, free in 70 s")


@pytest.mark.parametrize("urgency", list(Urgency))
def test_a_job_goes_to_the_next_model_while_a_limit_lets_it_wait_beyond_start_within(urgency: Urgency) -> None:
    step = decide(job(urgency=urgency), CATALOG, (), conditions(small=LIMITED), NOW)
    assert isinstance(step, Handoff)
    assert (step.model, step.why) == ("large", f"small: {LIMITED.blocked.detail}")


@pytest.mark.parametrize("urgency", list(Urgency))
def test_without_another_model_a_job_waits_for_the_limit_in_its_queue_and_does_not_fall(urgency: Urgency) -> None:
    waits = job(("small",), urgency=urgency, accepted_at=NOW - 100)
    step = decide(waits, CATALOG, (), conditions(small=LIMITED), NOW)
    assert isinstance(step, Later)
    assert (step.model, step.delay) == ("small", 70)
    assert reconsider(waits, CATALOG, (), conditions(small=LIMITED), NOW) is None, "it keeps its place"
