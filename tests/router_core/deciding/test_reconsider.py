"""The step for a job that waits in a queue whose model may not call it soon enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.deciding.reconsider import leaves_unmet, reconsider
from openfall.router_core.deciding.steps import Done, Fall, Handoff, Later
from openfall.router_core.jobs.outcome import Answer, Failure
from openfall.router_core.routing.fleet_state import FOREVER, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, Fallback, HoldReason, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import (
    CATALOG,
    LOCAL,
    NOW,
    PATIENT,
    blocked,
    catalog,
    completion,
    conditions,
    job,
    tried,
)

AWAY = Fallback.UNAVAILABLE
EARLY, LATE = NOW + 10, NOW + 30
BUSY, IDLE, QUEUED = ModelState(free=0), ModelState(free=1), ModelState(free=1, waiting=1)
ON_CARD = ModelState(free=0, starts_in=8.0)
"""Its card would have to load it first."""
INTERACTIVE = Urgency.INTERACTIVE


def case(name, step, *, of=None, tried=(), when=None, at=EARLY, by=CATALOG):
    return pytest.param(of or job(), tried, when or conditions(), at, by, step, id=name)


@pytest.mark.parametrize(
    ("of", "attempts", "when", "now", "by", "step"),
    [
        case("a job whose queue is drained is left", None),
        case("a job that is early is left although another model is idle", None, when=conditions(large=IDLE)),
        case(
            "a job that is late goes to a model that is idle",
            Handoff("large", False, kind=Fallback.OVERLOAD),
            when=conditions(large=IDLE),
            at=LATE,
        ),
        case("a job that is late is left when no other has a free slot", None, when=conditions(large=BUSY), at=LATE),
        case(
            "a job that is late is not sent to a model that must first be loaded",
            None,
            when=conditions(large=ModelState(free=1, loaded=False)),
            at=LATE,
        ),
        case(
            "a job that is late is not sent to a model that its card does not take calls for",
            None,
            when=conditions(large=ModelState(free=1, starts_in=8.0)),
            at=LATE,
        ),
        case("a job that is late is left when others wait there", None, when=conditions(large=QUEUED), at=LATE),
        case("a job that is late is left when the other is blocked", None, when=conditions(large=blocked()), at=LATE),
        case(
            "a job that is late is not sent to a model that is in its back-off",
            None,
            tried=[tried("large", ended_at=LATE)],
            when=conditions(large=IDLE),
            at=LATE,
        ),
        case(
            "a late job in its back-off goes to a model that is idle",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small", ended_at=LATE)],
            when=conditions(large=IDLE),
            at=LATE,
        ),
        case(
            "a cooldown that ends before the job is late is waited for",
            None,
            when=conditions(small=blocked(LATE, BlockReason.COOLDOWN)),
        ),
        case(
            "a job with time does not wait for a breaker beside a model that is idle",
            Handoff("large", False, kind=AWAY),
            when=conditions(small=blocked(LATE), large=IDLE),
        ),
        case(
            "a job with time goes past a model whose free slots are spoken for",
            Handoff("opus", False, kind=AWAY),
            of=job(("small", "large", "opus")),
            when=conditions(small=blocked(LATE), large=QUEUED, opus=IDLE),
        ),
        case(
            "a job with time waits for a short outage while no other model can take more",
            None,
            when=conditions(small=blocked(LATE), large=QUEUED),
        ),
        case(
            "a job with time does not wait for an outage beside a model that its card would load",
            Handoff("large", False, kind=AWAY),
            when=conditions(small=blocked(LATE), large=ON_CARD),
        ),
        case(
            "a job with time waits for a short outage while others wait until their card has loaded the other model",
            None,
            when=conditions(small=blocked(LATE), large=ModelState(free=0, starts_in=8.0, waiting=1)),
        ),
        case(
            "a job with time waits for a short outage beside a model that no card can load",
            None,
            when=conditions(small=blocked(LATE), large=ModelState(free=0, starts_in=FOREVER)),
        ),
        case(
            "a job that is late goes to a model that its card would load, past one without a free slot",
            Handoff("opus", False, kind=AWAY),
            of=job(("small", "large", "opus")),
            when=conditions(small=blocked(LATE + 1), large=BUSY, opus=ON_CARD),
            at=LATE,
        ),
        case(
            "a block that ends after the deadline is not waited for",
            Handoff("large", False, kind=AWAY),
            of=job(deadline=NOW + 15),
            when=conditions(small=blocked(NOW + 20)),
        ),
        case(
            "a block that ends too late sends the job to a model that is due",
            Handoff("large", False, kind=AWAY),
            when=conditions(small=blocked(LATE + 1), large=BUSY),
        ),
        case(
            "an early job falls at once when every model of its chain is away",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: its breaker is open; large: unhealthy",
            ),
            when=conditions(small=blocked(), large=blocked(FOREVER, BlockReason.UNHEALTHY, "unhealthy")),
        ),
        case(
            "an early job is left when another model of its chain only has no worker at the moment",
            None,
            when=conditions(small=blocked(), large=blocked(reason=BlockReason.NO_WORKER)),
        ),
        case(
            "an early job is left when its model is away and another one is paused",
            None,
            when=conditions(small=blocked(), large=blocked(reason=BlockReason.PAUSED)),
        ),
        case(
            "a late job goes to a model with a free slot, past one without",
            Handoff("opus", False, kind=AWAY),
            of=job(("small", "large", "opus")),
            when=conditions(small=blocked(LATE + 1), large=BUSY, opus=QUEUED),
            at=LATE,
        ),
        case(
            "a late job is left while no other model has a free slot",
            None,
            when=conditions(small=blocked(), large=BUSY),
            at=LATE,
        ),
        case(
            "a late job that nothing can serve falls",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: its breaker is open; large: its breaker is open",
            ),
            when=conditions(small=blocked(), large=blocked()),
            at=LATE,
        ),
        case(
            "a late job is left when its own model is due first",
            None,
            when=conditions(small=blocked(LATE + 5), large=blocked(LATE + 9)),
            at=LATE,
        ),
        case(
            "a late job waits for another model that is due before",
            Later("large", 5),
            when=conditions(small=blocked(LATE + 9), large=blocked(LATE + 5)),
            at=LATE,
        ),
        case(
            "an interactive job does not wait for a block to end",
            Handoff("large", True, kind=AWAY),
            of=job(urgency=INTERACTIVE),
            when=conditions(small=blocked(NOW + 11), large=BUSY),
        ),
        case(
            "an interactive job that nothing can serve falls at once",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: its breaker is open"),
            of=job(("small",), urgency=INTERACTIVE),
            when=conditions(small=blocked()),
        ),
        case(
            "a job that is not late is left however long its only model is paused",
            None,
            of=job(("small",)),
            when=conditions(small=blocked(NOW + 90, BlockReason.PAUSED)),
        ),
        case(
            "a job that is late falls when its only model is blocked for longer than it may take to start",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: its breaker is open"),
            of=job(("small",)),
            when=conditions(small=blocked(LATE + 31)),
            at=LATE,
        ),
        case(
            "an interactive job falls before it is late when its only model is blocked for longer than it may wait",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: its breaker is open"),
            of=job(("small",), urgency=INTERACTIVE),
            when=conditions(small=blocked(EARLY + 31)),
        ),
        case(
            "a batch job in an outage falls when a background job would, not after an hour",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: its breaker is open"),
            of=job(("small",), urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(LATE + 31)),
            at=LATE,
            by=PATIENT,
        ),
        case(
            "a batch job whose model is away goes to an idle one as soon as a background job would",
            Handoff("large", False, kind=AWAY),
            of=job(urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(LATE + 31), large=IDLE),
            at=LATE,
            by=PATIENT,
        ),
        case(
            "a batch job is left while its queue is paused until it is late itself",
            None,
            of=job(("small",), urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(LATE + 31, BlockReason.PAUSED)),
            at=LATE,
            by=PATIENT,
        ),
        case(
            "an interactive job is left when its own model is due first",
            None,
            of=job(("small",), urgency=INTERACTIVE),
            when=conditions(small=blocked(NOW + 20)),
        ),
        case(
            "a job whose model has left the catalog goes on at once",
            Handoff("large", False, kind=AWAY),
            of=job(("gone", "large")),
            when=conditions("gone"),
        ),
        case(
            "a job none of whose models is left falls at once",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: gone: not in the catalog any more"),
            of=job(("gone",)),
            when=conditions("gone"),
        ),
        case(
            "a job in the cloud's queue falls at once when the local-only switch is turned on",
            Fall(
                HoldReason.LOCAL_ONLY,
                "no model of its chain can be called: opus: not local, and the fleet's local-only switch is on",
            ),
            of=job(("opus",)),
            when=conditions("opus", local_only=True),
        ),
        case(
            "a job past its deadline is expired",
            Done(Failure(error_class=E.TIMEOUT, detail="its deadline passed in the queue"), expired=True),
            at=NOW + 100,
        ),
    ],
)
def test_reconsider(of, attempts, when, now, by, step):
    assert reconsider(of, by, attempts, when, now) == step


@pytest.mark.parametrize(
    ("is_stranded", "small", "large", "step"),
    [
        (True, blocked(reason=BlockReason.PAUSED), blocked(), None),
        (False, blocked(reason=BlockReason.PAUSED), blocked(), Fall),
        (True, blocked(), blocked(), Fall),
        (True, blocked(reason=BlockReason.PAUSED), IDLE, Handoff),
    ],
    ids=["stranded in a paused queue", "late in it", "stranded before a broken model", "another model is idle"],
)
def test_a_job_that_can_go_nowhere_else_waits_in_a_paused_queue_until_it_is_late(is_stranded, small, large, step):
    when = replace(conditions(small=small, large=large), is_stranded=is_stranded)
    decided = reconsider(job(urgency=INTERACTIVE), CATALOG, (), when, EARLY)
    assert decided is None if step is None else isinstance(decided, step)


def test_an_ensemble_with_an_answer_waits_for_no_model():
    by = catalog(ensemble=Ensemble(answers=2))
    answers = (Answer("small", "box", completion()),)
    attempts = (tried("small", None),)
    of = job(LOCAL, role="many")
    left = reconsider(of, by, attempts, conditions("large", answers=answers), EARLY)
    assert left is None
    away = conditions("large", answers=answers, large=blocked(NOW + 11))
    assert reconsider(of, by, attempts, away, EARLY) == Done(completion(), answer=answers[0])


def test_a_job_that_leaves_a_card_because_its_model_is_not_loaded_is_unmet_demand():
    on_card = Catalog(
        backends={"box": Backend(url="http://box:11434", protocol="ollama", pool="gpu", vram_gb=16),
                  "plain": Backend(url="http://plain:11434", protocol="ollama", pool="gpu")},
        models={"smol": ModelSpec(upstream="smol", backends=("box",)),
                "large": ModelSpec(upstream="large", backends=("plain",))},
    )  # fmt: skip
    away, waits = ModelState(starts_in=30.0, loaded=False), Handoff("large", False)

    def unmet(state, model="smol", step=waits):
        return leaves_unmet(on_card, FleetState({model: state}), model, step)

    assert unmet(away) == ("smol",)
    assert unmet(ModelState(starts_in=0.0)) == ()
    assert unmet(away, step=Later("smol", 1.0)) == (), "it stays"
    assert unmet(away, "large") == (), "no card of ours"
    assert unmet(away, "gone") == ()
    assert unmet(ModelState(starts_in=30.0, blocked=blocked())) == (), "nothing could call it there either"
