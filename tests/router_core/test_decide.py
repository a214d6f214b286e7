"""What to do next with a job: every rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router_core.catalog import Catalog
from router_core.decide import Call, Done, Fall, Handoff, Later, conclude, decide
from router_core.fleet import ModelState, Obstacle
from router_core.job import Urgency
from router_core.open_fall import HoldReason
from router_core.outcome import ErrorClass as E
from router_core.outcome import Failure, Fallback
from router_core.policies import UrgencyPolicy
from router_core.reconsider import reconsider
from tests.router_core.decisions import (
    CATALOG,
    LOCAL,
    NOW,
    blocked,
    catalog,
    completion,
    conditions,
    job,
    tried,
)

AWAY, LOAD = Fallback.UNAVAILABLE, Fallback.OVERLOAD
INTERACTIVE = Urgency.INTERACTIVE
AFTER_TIMEOUT = "fallback (unavailable) after small: timeout"
RETRIED = "small is repeated after timeout (2nd time)"


BOTH_OPEN = "no model of its chain can be asked (small: its breaker is open; large: its breaker is open)"
PATIENT = Catalog.model_validate({
    **dict(CATALOG), "urgency": {**CATALOG.urgency, Urgency.BATCH: UrgencyPolicy(start_within=3600, give_up=86400)}
})  # fmt: skip


def case(name, step, *, of=None, tried=(), when=None, at=NOW, by=CATALOG):
    return pytest.param(of or job(), tried, when or conditions(), at, by, step, id=name)


def expired(detail):
    return Done(Failure(error_class=E.TIMEOUT, detail=detail), expired=True)


@pytest.mark.parametrize(
    ("of", "attempts", "when", "now", "by", "step"),
    [
        case("a fresh job asks the first model", Call("small", 10, "first in the chain")),
        case("a call gets no more than the time left", Call("small", 5, "first in the chain"), at=NOW + 95),
        case(
            "a job in the second queue is not sent back to the first unasked",
            Call("large", 10, "2nd in the chain"),
            when=conditions("large"),
        ),
        case(
            "a job that is called in the second queue tells what is in the way of the first",
            Call("large", 10, "2nd in the chain; small: its breaker is open"),
            when=conditions("large", small=blocked()),
        ),
        case(
            "a job that is called by a model of the cloud tells that the local one is gone",
            Call("opus", 10, "2nd in the chain; gone: not in the catalog any more"),
            of=job(("gone", "opus")),
            when=conditions("opus"),
        ),
        case(
            "a job that a second queue got after a failure is asked there",
            Call("large", 10, AFTER_TIMEOUT),
            tried=[tried("small")],
            when=conditions("large"),
        ),
        case(
            "a long wait in the second queue does not send a job back",
            Call("large", 10, AFTER_TIMEOUT),
            tried=[tried("small")],
            when=conditions("large"),
            at=NOW + 60,
        ),
        case(
            "a model is asked again when its back-off is over",
            Call("small", 10, "repeated after timeout (3rd time)"),
            tried=[tried("small", ended_at=NOW - 9), tried("small", ended_at=NOW - 2)],
        ),
        case("a passing failure is waited out", Later("small", 1, RETRIED), tried=[tried("small")]),
        case(
            "the next wait is twice as long",
            Later("small", 2, "small is repeated after timeout (3rd time)"),
            tried=[tried("small")] * 2,
        ),
        case(
            "the waits are those of the retry policy",
            Later("small", 9, "small is repeated after timeout (3rd time)"),
            tried=[tried("small")] * 2,
            by=catalog(base=5, most=9),
        ),
        case(
            "a provider that asks for a longer wait gets it",
            Later("small", 22.5, "small is repeated after rate_limited (2nd time)"),
            tried=[tried("small", E.RATE_LIMITED, retry_after=20)],
        ),
        case(
            "a wait longer than back-offs are is not waited while another model is due",
            Handoff("large", False, "fallback (overload) after small: rate_limited", LOAD),
            tried=[tried("small", E.RATE_LIMITED, retry_after=61)],
        ),
        case(
            "an interactive job does not wait while another model is due",
            Handoff("large", True, AFTER_TIMEOUT, AWAY),
            of=job(urgency=INTERACTIVE),
            tried=[tried("small")],
        ),
        case(
            "an interactive job waits when the other model is blocked",
            Later("small", 1, "small is due first: timeout, to be asked again in 1 s at the earliest"),
            of=job(urgency=INTERACTIVE),
            tried=[tried("small")],
            when=conditions(large=blocked(NOW + 5)),
        ),
        case(
            "a used-up retry budget sends a job on",
            Handoff("large", False, AFTER_TIMEOUT, AWAY),
            tried=[tried("small")],
            when=conditions(small=ModelState(may_retry=False)),
        ),
        case(
            "a used-up retry budget is no reason to fall",
            Later("small", 1, "small is due first: timeout, to be asked again in 1 s at the earliest"),
            of=job(("small",)),
            tried=[tried("small")],
            when=conditions(small=ModelState(may_retry=False)),
        ),
        case(
            "what failed and is blocked is not waited for",
            Handoff("large", False, AFTER_TIMEOUT, AWAY),
            tried=[tried("small")],
            when=conditions(small=blocked(NOW + 3)),
        ),
        case(
            "a wait past the deadline is not begun",
            Handoff("large", False, AFTER_TIMEOUT, AWAY),
            of=job(deadline=NOW + 0.5),
            tried=[tried("small")],
        ),
        case(
            "a model has its repetitions and no more",
            Handoff("large", False, AFTER_TIMEOUT, AWAY),
            tried=[tried("small")] * 4,
        ),
        case(
            "a configuration without repetitions sends a job on at once",
            Handoff("large", False, AFTER_TIMEOUT, AWAY),
            tried=[tried("small")],
            by=catalog(times=0),
        ),
        case(
            "a degraded model is asked again",
            Later("small", 1, "small is repeated after malformed (2nd time)"),
            tried=[tried("small", E.MALFORMED)],
        ),
        case(
            "a degraded model is asked again only once",
            Handoff("large", False, "fallback (unavailable) after small: malformed", AWAY),
            tried=[tried("small", E.MALFORMED)] * 2,
        ),
        case(
            "a degraded model is not asked again where nothing is",
            Handoff("large", False, "fallback (output) after small: invalid_output", Fallback.OUTPUT),
            tried=[tried("small", E.INVALID_OUTPUT)],
            by=catalog(times=0),
        ),
        case(
            "a model that cannot is not asked again",
            Handoff("large", False, "fallback (unavailable) after small: not_installed", AWAY),
            tried=[tried("small", E.NOT_INSTALLED)],
        ),
        case(
            "a model that is blocked on delivery hands the job on",
            Handoff("large", False, "small: its breaker is open", AWAY),
            when=conditions(small=blocked(NOW + 24)),
        ),
        case(
            "a cooldown makes an overload of it",
            Handoff("large", False, "small: cooling down", LOAD),
            when=conditions(small=blocked(NOW + 24, Obstacle.COOLDOWN, "cooling down")),
        ),
        case(
            "a block that is over is none",
            Call("small", 10, "first in the chain"),
            when=conditions(small=blocked(NOW)),
        ),
        case(
            "of those that are due the least asked is handed the job",
            Handoff("opus", False, "fallback (unavailable) after large: no_vram", AWAY),
            of=job(("small", "large", "opus")),
            tried=[tried("small", ended_at=NOW - 9), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "a job goes back to a model that was asked before when no other is due",
            Handoff("small", False, "fallback (unavailable) after large: no_vram", AWAY),
            tried=[tried("small", ended_at=NOW - 9), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "when none is due the job waits for the first that is",
            Later("large", 5, "large is due first: its breaker is open"),
            when=conditions(small=blocked(NOW + 9), large=blocked(NOW + 5)),
        ),
        case(
            "among equals a job waits where it is",
            Later("large", 5, "large is due first: its breaker is open"),
            when=conditions("large", small=blocked(NOW + 5), large=blocked(NOW + 5)),
        ),
        case(
            "no job waits for a block that is longer than it may take to start",
            Fall(HoldReason.OUTAGE, BOTH_OPEN),
            when=conditions(small=blocked(NOW + 30.1), large=blocked(NOW + 31)),
        ),
        case(
            "a block that ends just in time is waited for",
            Later("small", 30, "small is due first: its breaker is open"),
            when=conditions(small=blocked(NOW + 30), large=blocked(NOW + 31)),
        ),
        case(
            "a job that is late waits as long again",
            Later("small", 20, "small is due first: its breaker is open"),
            when=conditions(small=blocked(NOW + 60), large=blocked(NOW + 91)),
            at=NOW + 40,
        ),
        case(
            "and no longer, however soon what is blocked says it will be back",
            Fall(HoldReason.OUTAGE, BOTH_OPEN),
            when=conditions(small=blocked(NOW + 61), large=blocked(NOW + 62)),
            at=NOW + 60,
        ),
        case(
            "who paces us is there: a cooldown is no outage, however late the job is",
            Later("small", 20, "small is due first: cooling down"),
            when=conditions(small=blocked(NOW + 90, Obstacle.COOLDOWN, "cooling down"), large=blocked(NOW + 99)),
            at=NOW + 70,
        ),
        case(
            "but an interactive job does not wait for that either",
            Fall(HoldReason.OUTAGE, "no model of its chain can be asked (small: cooling down)"),
            of=job(("small",), urgency=Urgency.INTERACTIVE),
            when=conditions(small=blocked(NOW + 72, Obstacle.COOLDOWN, "cooling down")),
            at=NOW + 70,
        ),
        case(
            "a batch job that may take an hour to start waits for what ends within it",
            Later("small", 600, "small is due first: its breaker is open"),
            of=job(urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(NOW + 600), large=blocked(NOW + 700)),
            by=PATIENT,
        ),
        case(
            "a job that is not interactive waits for a back-off however long",
            Later("small", 67.5, "small is due first: rate_limited, to be asked again in 68 s at the earliest"),
            of=job(("small",)),
            tried=[tried("small", E.RATE_LIMITED, retry_after=60)],
            when=conditions(small=ModelState(may_retry=False)),
        ),
        case(
            "a block within a longer back-off is no reason to fall",
            Later("small", 67.5, "small is due first: its breaker is open"),
            of=job(("small",)),
            tried=[tried("small", E.RATE_LIMITED, retry_after=60)],
            when=conditions(small=blocked(NOW + 20)),
        ),
        case(
            "an interactive job does not wait for a back-off that is longer than it may take to start",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be asked (small: rate_limited, to be asked again in 45 s at the earliest)",
            ),
            of=job(("small",), urgency=INTERACTIVE),
            tried=[tried("small", E.RATE_LIMITED, retry_after=40)],
        ),
        case(
            "a queue whose model has left the catalog hands its jobs on",
            Handoff("large", False, "gone: not in the catalog any more", AWAY),
            of=job(("gone", "large")),
            when=conditions("gone"),
        ),
        case(
            "a queue that is not of the job's chain hands it on",
            Handoff("small", False, "opus: not in its chain", None),
            when=conditions("opus"),
        ),
        case(
            "a failure that is bad everywhere ends the job",
            Done(Failure(error_class=E.BAD_REQUEST, detail="what?")),
            tried=[tried("small", E.BAD_REQUEST, detail="what?")],
        ),
        case("a cancel ends the job", Done(Failure(error_class=E.CANCELLED)), tried=[tried("small", E.CANCELLED)]),
        case(
            "a job that met nothing but its own faults fails",
            Done(Failure(error_class=E.CONTENT_FILTER, detail="no")),
            tried=[tried("small", E.CONTEXT_OVERFLOW), tried("large", E.CONTENT_FILTER, detail="no")],
        ),
        case(
            "a job that met an outage beside its own fault falls",
            Fall(HoldReason.OUTAGE, "no model of its chain can be asked (small: context_overflow; large: auth)"),
            tried=[tried("small", E.CONTEXT_OVERFLOW), tried("large", E.AUTH)],
        ),
        case(
            "a job with its own fault falls while another model may come back",
            Fall(HoldReason.OUTAGE, "no model of its chain can be asked (small: context_overflow; large: no worker)"),
            tried=[tried("small", E.CONTEXT_OVERFLOW)],
            when=conditions(large=blocked(detail="no worker")),
        ),
        case(
            "a job falls when every model has had its repetitions",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be asked (small: timeout, asked 4 times; large: timeout, asked 4 times)",
            ),
            tried=[*[tried("small")] * 4, *[tried("large")] * 4],
        ),
        case(
            "a job falls when nothing comes back before its deadline",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be asked "
                "(small: rate_limited, to be asked again in 562 s at the earliest; large: no_vram)",
            ),
            tried=[tried("small", E.RATE_LIMITED, retry_after=500), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "a job none of whose models is left falls",
            Fall(HoldReason.OUTAGE, "no model of its chain can be asked (gone: not in the catalog any more)"),
            of=job(("gone",)),
            when=conditions("gone"),
        ),
        case(
            "a job whose budget is spent everywhere falls for that",
            Fall(HoldReason.BUDGET, "no model of its chain can be asked (small: budget, asked 2 times)"),
            of=job(("small",)),
            tried=[tried("small", E.BUDGET)] * 2,
        ),
        case(
            "a job none of whose models gives an answer that it takes is at fault itself",
            Fall(
                HoldReason.OWN_FAULT,
                "no model of its chain gives an answer that it takes "
                "(small: invalid_output, asked 2 times; large: context_overflow)",
            ),
            tried=[*[tried("small", E.INVALID_OUTPUT)] * 2, tried("large", E.CONTEXT_OVERFLOW)],
        ),
        case(
            "a job is not at fault while a model may come back",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be asked (small: invalid_output, asked 2 times; large: its breaker is open)",
            ),
            tried=[tried("small", E.INVALID_OUTPUT)] * 2,
            when=conditions(large=blocked()),
        ),
        case(
            "a job is not at fault when one of its models was away",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be asked (small: invalid_output, asked 2 times; large: auth)",
            ),
            tried=[*[tried("small", E.INVALID_OUTPUT)] * 2, tried("large", E.AUTH)],
        ),
        case(
            "a deadline that passes in the queue expires the job",
            expired("its deadline passed in the queue"),
            at=NOW + 100,
        ),
        case(
            "a deadline that passes after an attempt tells of it",
            expired("its deadline passed; attempts: 1, the last: small: 10 s without a word"),
            tried=[tried("small", detail="10 s without a word")],
            at=NOW + 100,
        ),
        case(
            "an answered job is never decided again; if it were, nothing would be called",
            Fall(HoldReason.OUTAGE, "no model of its chain can be asked (small: answered)"),
            of=job(("small",)),
            tried=[tried("small", None)],
        ),
    ],
)
def test_decide(of, attempts, when, now, by, step):
    assert decide(of, by, attempts, when, now) == step


def test_an_answer_is_an_answer_however_late():
    attempts = (tried("small", None, ended_at=NOW + 999),)
    assert conclude(job(), CATALOG, attempts, completion(), conditions()) == Done(completion())


def test_a_failure_is_decided_at_the_moment_it_ended():
    failure = Failure(error_class=E.TIMEOUT)
    early, late = (tried("small", ended_at=NOW + 50),), (tried("small", ended_at=NOW + 100),)
    assert conclude(job(LOCAL), CATALOG, early, failure, conditions()) == Later("small", 1, RETRIED)
    assert conclude(job(LOCAL), CATALOG, late, failure, conditions()).expired


class TestStandIns:
    """A model outside the chain that is asked in its stead."""

    def decided(self, *attempts, of=None, here="opus", local_only=False, **models):
        when = replace(conditions(here, local_only=local_only, **models), stand_in=True)
        return decide(of or job(), CATALOG, attempts, when, NOW)

    def test_it_is_asked_and_nobody_of_the_chain(self):
        assert self.decided() == Call("opus", 10, "stands in for its chain")
        assert self.decided(*[tried("small")] * 4) == Call("opus", 10, "stands in for its chain")
        again = self.decided(tried("opus", ended_at=NOW - 9))
        assert again == Call("opus", 10, "repeated after timeout (2nd time)")

    def test_it_is_repeated_like_any_other(self):
        assert self.decided(tried("opus")) == Later("opus", 1, "opus is repeated after timeout (2nd time)")

    def test_when_it_is_exhausted_the_job_falls_again_although_its_chain_could_be_asked(self):
        told = "nor does its stand-in answer (opus: timeout, asked 4 times)"
        assert self.decided(*[tried("opus")] * 4) == Fall(HoldReason.OUTAGE, told)

    def test_what_only_it_cannot_do_does_not_end_the_job(self):
        fall = Fall(HoldReason.OUTAGE, "nor does its stand-in answer (opus: unsupported)")
        assert self.decided(tried("opus", E.UNSUPPORTED)) == fall
        assert self.decided(tried("small", E.CONTEXT_OVERFLOW), tried("opus", E.UNSUPPORTED)) == fall

    def test_rules_on_staying_local_hold_for_it_too(self):
        told = "nor does its stand-in answer (opus: not local, and the fleet's local-only switch is on)"
        assert self.decided(local_only=True) == Fall(HoldReason.OUTAGE, told)

    def test_its_queue_is_left_when_it_is_blocked_for_too_long(self):
        told = "nor does its stand-in answer (opus: its breaker is open)"
        when = replace(conditions("opus", opus=blocked(NOW + 31)), stand_in=True)
        of = job(urgency=INTERACTIVE)
        assert reconsider(of, CATALOG, (), when, NOW + 1) is None
        assert reconsider(of, CATALOG, (), when, NOW) == Fall(HoldReason.OUTAGE, told)

    def test_its_answer_ends_the_job(self):
        when = replace(conditions("opus"), stand_in=True)
        assert conclude(job(), CATALOG, (tried("opus", None),), completion(), when) == Done(completion())


def test_a_failure_is_told_before_what_it_led_to():
    failed = (tried("small", E.OVERLOADED),)
    step = conclude(job(), CATALOG, failed, Failure(error_class=E.OVERLOADED), conditions(small=blocked(NOW + 9)))
    assert step == Handoff("large", False, "fallback (overload) after small: overloaded", LOAD)
    later = decide(job(), CATALOG, failed, conditions(small=blocked(NOW + 9)), NOW + 2)
    assert later == Handoff("large", False, "small: its breaker is open", AWAY)
