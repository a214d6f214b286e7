"""The next step of a job: every rule by which it ends or falls."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.steps import Done, Fall
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.vocabulary import BlockReason, HoldReason, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import NOW, PATIENT, blocked, case, conditions, job, tried

INTERACTIVE = Urgency.INTERACTIVE


BOTH_OPEN = "no model of its chain can be called: small: its breaker is open; large: its breaker is open"


def expired(detail):
    return Done(Failure(error_class=E.TIMEOUT, detail=detail), expired=True)


@pytest.mark.parametrize(
    ("of", "attempts", "when", "now", "by", "step"),
    [
        case(
            "no job waits for a block that is longer than it may take to start",
            Fall(HoldReason.OUTAGE, BOTH_OPEN),
            when=conditions(small=blocked(NOW + 30.1), large=blocked(NOW + 31)),
        ),
        case(
            "nor for longer than twice that since it was accepted, however soon what is blocked says it will be back",
            Fall(HoldReason.OUTAGE, BOTH_OPEN),
            when=conditions(small=blocked(NOW + 61), large=blocked(NOW + 62)),
            at=NOW + 60,
        ),
        case(
            "but an interactive job does not wait for that either",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: cooling down"),
            of=job(("small",), urgency=Urgency.INTERACTIVE),
            when=conditions(small=blocked(NOW + 72, BlockReason.COOLDOWN, "cooling down")),
            at=NOW + 70,
        ),
        case(
            "an interactive job does not wait for a back-off that is longer than it may take to start",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: rate_limited, its next call is in 45 s at the earliest",
            ),
            of=job(("small",), urgency=INTERACTIVE),
            tried=[tried("small", E.RATE_LIMITED, retry_after=40)],
        ),
        case(
            "an interactive job falls when the retry budget is spent: its retry would be too late",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: timeout, its next call is in 1 s at the earliest",
            ),
            of=job(("small",), urgency=INTERACTIVE),
            tried=[tried("small")],
            when=conditions(may_retry=False),
        ),
        case(
            "a request that every model refuses fails with the first refusal",
            Done(Failure(error_class=E.BAD_REQUEST, detail="what?")),
            tried=[tried("small", E.BAD_REQUEST, detail="what?"), tried("large", E.UNSUPPORTED, detail="no tools")],
        ),
        case(
            "a request that one model refuses falls while another may come back",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: bad_request; large: no worker"),
            tried=[tried("small", E.BAD_REQUEST)],
            when=conditions(large=blocked(detail="no worker")),
        ),
        case(
            "a batch job falls in an outage like an interactive job, not after an hour",
            Fall(HoldReason.OUTAGE, BOTH_OPEN),
            of=job(urgency=Urgency.BATCH, deadline=NOW + 9999),
            when=conditions(small=blocked(NOW + 6), large=blocked(NOW + 60)),
            by=PATIENT,
        ),
        case("a cancel ends the job", Done(Failure(error_class=E.CANCELLED)), tried=[tried("small", E.CANCELLED)]),
        case(
            "a job that met nothing but its own faults fails",
            Done(Failure(error_class=E.CONTEXT_OVERFLOW, detail="long")),
            tried=[tried("small", E.CONTEXT_OVERFLOW, detail="long"), tried("large", E.CONTENT_FILTER, detail="no")],
        ),
        case(
            "a job that met an outage beside its own fault falls",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: context_overflow; large: auth"),
            tried=[tried("small", E.CONTEXT_OVERFLOW), tried("large", E.AUTH)],
        ),
        case(
            "a job with its own fault falls while another model may come back",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: context_overflow; large: no worker"),
            tried=[tried("small", E.CONTEXT_OVERFLOW)],
            when=conditions(large=blocked(detail="no worker")),
        ),
        case(
            "a job falls when every model has had its repetitions",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: timeout, after 4 tries; large: timeout, after 4 tries",
            ),
            tried=[*[tried("small")] * 4, *[tried("large")] * 4],
        ),
        case(
            "a job falls when nothing comes back before its deadline",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: "
                "small: rate_limited, its next call is in 562 s at the earliest; large: no_vram",
            ),
            tried=[tried("small", E.RATE_LIMITED, retry_after=500), tried("large", E.NO_VRAM)],
            when=conditions("large"),
        ),
        case(
            "a job none of whose models is left falls",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: gone: not in the catalog any more"),
            of=job(("gone",)),
            when=conditions("gone"),
        ),
        case(
            "a job in whose way are only paused queues falls for that",
            Fall(HoldReason.PAUSED, "no model of its chain can be called: small: paused; large: paused"),
            when=conditions(
                small=blocked(FOREVER, BlockReason.PAUSED, "paused"),
                large=blocked(FOREVER, BlockReason.PAUSED, "paused"),
            ),
        ),
        case(
            "but for an outage when something else is in the way of one of them",
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: paused; large: its breaker is open"),
            when=conditions(small=blocked(FOREVER, BlockReason.PAUSED, "paused"), large=blocked()),
        ),
        case(
            "a job none of whose models gives an answer that passes is at fault itself",
            Fall(
                HoldReason.OWN_FAULT,
                "no model of its chain gives an answer that passes: "
                "small: invalid_output, after 2 tries; large: context_overflow",
            ),
            tried=[*[tried("small", E.INVALID_OUTPUT)] * 2, tried("large", E.CONTEXT_OVERFLOW)],
        ),
        case(
            "a job that a model refused after a lost connection ends with the refusal: no model would ever release it",
            Done(Failure(error_class=E.CONTENT_FILTER)),
            tried=[tried("small"), tried("small", E.CONTENT_FILTER), tried("large", E.BAD_REQUEST)],
            when=conditions("large"),
        ),
        case(
            "a job is not at fault while a model may come back",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: invalid_output, after 2 tries; large: its breaker is open",
            ),
            tried=[tried("small", E.INVALID_OUTPUT)] * 2,
            when=conditions(large=blocked()),
        ),
        case(
            "a job is not at fault when one of its models was away",
            Fall(
                HoldReason.OUTAGE,
                "no model of its chain can be called: small: invalid_output, after 2 tries; large: auth",
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
            Fall(HoldReason.OUTAGE, "no model of its chain can be called: small: answered"),
            of=job(("small",)),
            tried=[tried("small", None)],
        ),
    ],
)
def test_a_job_ends_or_falls(of, attempts, when, now, by, step):
    assert decide(of, by, attempts, when, now) == step
