"""What may not leave the local pools does not, and what may only when it is late does not before."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.steps import Call, Fall, Handoff, Later
from openfall.router_core.vocabulary import BlockReason, Fallback, HoldReason, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import CATALOG, CLOUD, NOW, blocked, catalog, conditions, job, tried

AWAY, RULE = Fallback.UNAVAILABLE, Fallback.POLICY
BATCH = Urgency.BATCH
MIXED = ("small", "opus")

NOT_LOCAL = "no model of its chain can be called: opus: not local, and {why}; haiku: not local, and {why}"


@pytest.mark.parametrize(
    ("of", "when", "by", "why"),
    [
        pytest.param({"local_only": True}, {}, {}, "the job must stay local", id="the job"),
        pytest.param({}, {"local_only": True}, {}, "the fleet's local-only switch is on", id="the fleet's switch"),
        pytest.param({}, {}, {"local_only": True}, "the configuration keeps every job local", id="the configuration"),
        pytest.param({}, {}, {"cloud": Cloud.NO}, "background jobs must stay local", id="its urgency"),
    ],
)
def test_nothing_leaves_the_local_pools_when_it_must_stay(of, when, by, why):
    fallen = decide(job(CLOUD, **of), catalog(**by), (), conditions("opus", **when), NOW)
    assert fallen == Fall(HoldReason.LOCAL_ONLY, NOT_LOCAL.format(why=why))
    handed = decide(job(("opus", "small"), **of), catalog(**by), (), conditions("opus", **when), NOW)
    assert handed == Handoff("small", False, kind=RULE)


def test_queues_that_the_switch_blocks_make_a_local_only_fall():
    off = blocked(reason=BlockReason.LOCAL_ONLY, detail="the local-only switch is on")
    step = decide(job(("opus",)), CATALOG, (), conditions("opus", opus=off), NOW)
    assert step == Fall(HoldReason.LOCAL_ONLY, "no model of its chain can be called: opus: the local-only switch is on")


def test_a_local_outage_beside_a_forbidden_cloud_is_an_outage():
    step = decide(job(MIXED, local_only=True), CATALOG, (), conditions(small=blocked(detail="no worker")), NOW)
    assert step == Fall(
        HoldReason.OUTAGE,
        "no model of its chain can be called: small: no worker; opus: not local, and the job must stay local",
    )


WHEN_LATE = catalog(cloud=Cloud.WHEN_LATE)


@pytest.mark.parametrize(
    ("chain", "attempts", "when", "now", "step"),
    [
        pytest.param(
            MIXED, (), conditions(small=blocked()), NOW,
            Later("opus", 30), id="it waits until it is late",
        ),
        pytest.param(
            MIXED, (), conditions(small=blocked()), NOW + 30,
            Handoff("opus", False, kind=AWAY), id="it leaves when it is late",
        ),
        pytest.param(
            ("opus", "small"), (), conditions("opus"), NOW,
            Handoff("small", False), id="it is sent home while it is early",
        ),
        pytest.param(
            CLOUD, (), conditions("opus"), NOW, Call("opus", 10),
            id="it need not wait when its chain has no local model",
        ),
        pytest.param(
            MIXED, (tried("small", E.NO_VRAM),), conditions(), NOW,
            Handoff("opus", False, kind=AWAY),
            id="it need not wait when no local model is left",
        ),
    ],
)  # fmt: skip
def test_a_job_that_may_leave_when_late(chain, attempts, when, now, step):
    assert decide(job(chain, urgency=BATCH), WHEN_LATE, attempts, when, now) == step
