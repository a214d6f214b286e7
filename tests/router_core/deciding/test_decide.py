"""The next step of a job: every rule by which it continues."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.decide import conclude, decide, is_retry
from openfall.router_core.deciding.steps import Call, Done, Handoff, Later
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import BlockReason, Fallback, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import (
    CATALOG,
    LOCAL,
    NOW,
    PATIENT,
    blocked,
    case,
    catalog,
    completion,
    conditions,
    job,
    tried,
)

AWAY, LOAD = Fallback.UNAVAILABLE, Fallback.OVERLOAD
INTERACTIVE = Urgency.INTERACTIVE
CALM = BlockReason.COOLDOWN


@pytest.mark.parametrize(
    ("of", "attempts", "when", "now", "by", "step"),
    [
        case("a new job calls the first model", Call("small", 10)),
        case("a call gets no more than the time left", Call("small", 5), of=job(("small",)), at=NOW + 95),
        case("a call leaves a part of the time left to the next model", Call("small", 3), at=NOW + 95),
        case(
            "a job in the second queue is not sent back to the first before a call",
            Call("large", 10),
            when=conditions("large"),
        ),
        case(
            "a job in the second queue is called there while the first model is blocked",
            Call("large", 10),
            when=conditions("large", small=blocked()),
        ),
        case(
            "a job in the second queue is called there when the first model has left the catalog",
            Call("opus", 10),
            of=job(("gone", "opus")),
            when=conditions("opus"),
        ),
        case(
            "a job that a second queue got after a failure is called there",
            Call("large", 10),
            tried=[tried("small")],
            when=conditions("large"),
        ),
        case(
            "a long wait in the second queue does not send a job back",
            Call("large", 10),
            tried=[tried("small")],
            when=conditions("large"),
            at=NOW + 60,
        ),
        case(
            "a model is called again when its back-off is over",
            Call("small", 10),
            tried=[tried("small", ended_at=NOW - 9), tried("small", ended_at=NOW - 2)],
        ),
        case("a passing failure is waited out", Later("small", 1), tried=[tried("small")]),
        case(
            "the next wait is twice as long",
            Later("small", 2),
            tried=[tried("small")] * 2,
        ),
        case(
            "the waits are those of the retry policy",
            Later("small", 9),
            tried=[tried("small")] * 2,
            by=catalog(initial_backoff=5, max_backoff=9),
        ),
        case(
            "a provider that asks for a longer wait gets it",
            Later("small", 22.5),
            tried=[tried("small", E.RATE_LIMITED, retry_after=20)],
        ),
        case(
            "a provider that asks for exactly the longest back-off gets it",
            Later("small", 67.5),
            tried=[tried("small", E.RATE_LIMITED, retry_after=CATALOG.retry.max_backoff)],
        ),
        case(
            "a wait longer than the longest back-off is not waited while another model is due",
            Handoff("large", False, kind=LOAD),
            tried=[tried("small", E.RATE_LIMITED, retry_after=61)],
        ),
        case(
            "an interactive job does not wait while another model is due",
            Handoff("large", True, kind=AWAY),
            of=job(urgency=INTERACTIVE),
            tried=[tried("small")],
        ),
        case(
            "an interactive job waits when the other model is blocked",
            Later("small", 1),
            of=job(urgency=INTERACTIVE),
            tried=[tried("small")],
            when=conditions(large=blocked(NOW + 5)),
        ),
        case(
            "an interactive job waits for a back-off that ends exactly when it must start",
            Later("small", 30),
            of=job(("small",), urgency=INTERACTIVE),
            tried=[tried("small")],
            by=catalog(initial_backoff=30),
        ),
        case(
            "a used-up retry budget sends a job on",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small")],
            when=conditions(may_retry=False),
        ),
        case(
            "a used-up retry budget is no reason to fall: the retry waits for the longest back-off",
            Later("small", 60),
            of=job(("small",)),
            tried=[tried("small")],
            when=conditions(may_retry=False),
        ),
        case(
            "with a used-up retry budget another model that failed before is not called at once either",
            Later("small", 60),
            tried=[tried("large", ended_at=NOW - 50), tried("small")],
            when=conditions(may_retry=False),
        ),
        case(
            "with a used-up retry budget a model that was not called is waited for, not the one that failed",
            Later("large", 20),
            tried=[tried("small")],
            when=conditions(large=blocked(NOW + 20), may_retry=False),
        ),
        case(
            "what failed and is blocked is not waited for",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small")],
            when=conditions(small=blocked(NOW + 3)),
        ),
        case(
            "a wait past the deadline is not begun",
            Handoff("large", False, kind=AWAY),
            of=job(deadline=NOW + 0.5),
            tried=[tried("small")],
        ),
        case(
            "a model has its repetitions and no more",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small")] * 4,
        ),
        case(
            "a configuration without repetitions sends a job on at once",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small")],
            by=catalog(max_retries=0),
        ),
        case(
            "a degraded model is called again",
            Later("small", 1),
            tried=[tried("small", E.MALFORMED)],
        ),
        case(
            "a degraded model is called again only once",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small", E.MALFORMED)] * 2,
        ),
        case(
            "a degraded model is not called again without retries",
            Handoff("large", False, kind=Fallback.OUTPUT),
            tried=[tried("small", E.INVALID_OUTPUT)],
            by=catalog(max_retries=0),
        ),
        case(
            "a model that is not installed is not called again",
            Handoff("large", False, kind=AWAY),
            tried=[tried("small", E.NOT_INSTALLED)],
        ),
        case(
            "a model that is blocked on delivery hands the job on",
            Handoff("large", False, kind=AWAY),
            when=conditions(small=blocked(NOW + 24)),
        ),
        case(
            "a cooldown makes an overload of it",
            Handoff("large", False, kind=LOAD),
            when=conditions(small=blocked(NOW + 24, BlockReason.COOLDOWN, "cooling down")),
        ),
        case(
            "a block that is over is none",
            Call("small", 10),
            when=conditions(small=blocked(NOW)),
        ),
        case(
            "of the models that are due the one with the fewest tries gets the job",
            Handoff("opus", False, kind=AWAY),
            of=job(("small", "large", "opus")),
            tried=[tried("small", ended_at=NOW - 9), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "a job goes back to a model that was called before when no other is due",
            Handoff("small", False, kind=AWAY),
            tried=[tried("small", ended_at=NOW - 9), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "when none is due the job waits for the first that is",
            Later("large", 5),
            when=conditions(small=blocked(NOW + 9), large=blocked(NOW + 5)),
        ),
        case(
            "among equals a job waits where it is",
            Later("large", 5),
            when=conditions("large", small=blocked(NOW + 5), large=blocked(NOW + 5)),
        ),
        case(
            "a block that ends just in time is waited for",
            Later("small", 30),
            when=conditions(small=blocked(NOW + 30), large=blocked(NOW + 31)),
        ),
        case(
            "a job that is late waits as long again",
            Later("small", 20),
            when=conditions(small=blocked(NOW + 60), large=blocked(NOW + 91)),
            at=NOW + 40,
        ),
        case(
            "a cooldown is no outage, however late the job is",
            Later("small", 20),
            when=conditions(small=blocked(NOW + 90, BlockReason.COOLDOWN, "cooling down"), large=blocked(NOW + 99)),
            at=NOW + 70,
        ),
        case(
            "a batch job that may take an hour to start waits for what ends within it",
            Later("small", 600),
            of=job(urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(NOW + 600, CALM), large=blocked(NOW + 700, CALM)),
            by=PATIENT,
        ),
        case(
            "in an outage a batch job waits no longer than an interactive job",
            Later("small", 5),
            of=job(urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(NOW + 5), large=blocked(NOW + 700)),
            by=PATIENT,
        ),
        case(
            "a job that is not interactive waits for a back-off however long",
            Later("small", 67.5),
            of=job(("small",)),
            tried=[tried("small", E.RATE_LIMITED, retry_after=60)],
            when=conditions(may_retry=False),
        ),
        case(
            "a block within a longer back-off is no reason to fall",
            Later("small", 67.5),
            of=job(("small",)),
            tried=[tried("small", E.RATE_LIMITED, retry_after=60)],
            when=conditions(small=blocked(NOW + 20)),
        ),
        case(
            "a queue whose model has left the catalog hands its jobs on",
            Handoff("large", False, kind=AWAY),
            of=job(("gone", "large")),
            when=conditions("gone"),
        ),
        case(
            "a queue that is not of the job's chain hands it on",
            Handoff("small", False),
            when=conditions("opus"),
        ),
    ],
)
def test_a_job_continues(of, attempts, when, now, by, step):
    assert decide(of, by, attempts, when, now) == step


def test_an_answer_is_an_answer_however_late():
    attempts = (tried("small", None, ended_at=NOW + 999),)
    assert conclude(job(), CATALOG, attempts, completion(), conditions()) == Done(completion())


def test_a_failure_is_decided_at_the_moment_it_ended():
    failure = Failure(error_class=E.TIMEOUT)
    early, late = (tried("small", ended_at=NOW + 50),), (tried("small", ended_at=NOW + 100),)
    assert conclude(job(LOCAL), CATALOG, early, failure, conditions()) == Later("small", 1)
    assert conclude(job(LOCAL), CATALOG, late, failure, conditions()).expired


def test_a_failure_decides_the_kind_of_fallback_before_the_block_that_it_caused():
    failed = (tried("small", E.OVERLOADED),)
    step = conclude(job(), CATALOG, failed, Failure(error_class=E.OVERLOADED), conditions(small=blocked(NOW + 9)))
    assert step == Handoff("large", False, kind=LOAD)
    later = decide(job(), CATALOG, failed, conditions(small=blocked(NOW + 9)), NOW + 2)
    assert later == Handoff("large", False, kind=AWAY)


@pytest.mark.parametrize(
    ("step", "attempts", "expected"),
    [
        (Later("small", 1), [tried("small")], True),
        (Handoff("large", False), [tried("large"), tried("small")], True),
        (Handoff("large", False), [tried("small")], False),
        (Handoff("large", False), [tried("small"), tried("large", None)], False),
        (Done(Failure(error_class=E.CANCELLED)), [tried("small")], False),
        (Later("small", 1), [], False),
    ],
    ids=["the same model", "back to a model", "the next model", "after an answer", "the end", "no call"],
)
def test_a_retry_is_one_more_call_of_a_model_after_a_failure(step, attempts, expected):
    assert is_retry(step, attempts) is expected
