"""What to do next with a job: every rule, and that every story ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_core.catalog import Backend, Catalog, ModelSpec
from router_core.decide import (
    ROUNDS,
    Call,
    Conditions,
    Done,
    Fall,
    Handoff,
    HoldReason,
    Later,
    conclude,
    decide,
)
from router_core.job import CompletionJob, Urgency
from router_core.outcome import Attempt, Completion, ErrorClass, Failure

E = ErrorClass
CATALOG = Catalog(
    backends={"box": Backend(url="http://box", pool="gpu")},
    models={name: ModelSpec(upstream=name, at=("box",), timeout=10) for name in ("small", "large", "huge")},
)
OK = Completion(text="x", finish_reason="stop")


def job(chain=("small", "large"), urgency=Urgency.BACKGROUND, deadline=100.0):
    return CompletionJob(id="job-00001", producer="tests", chain=chain, body={}, urgency=urgency, deadline=deadline)


def tried(model, error, ended_at=0.0, **more):
    return Attempt(model=model, backend="box", started_at=ended_at, ended_at=ended_at, error=error, **more)


def exhausted(*models):
    return tuple(tried(model, E.TIMEOUT) for model in models for _ in range(ROUNDS))


EXPIRED_IN_QUEUE = Failure(error_class=E.TIMEOUT, detail="its deadline passed in the queue")


@pytest.mark.parametrize(
    ("attempts", "here", "now", "step"),
    [
        pytest.param((), "small", 0, Call("small", 10), id="a fresh job asks the first model"),
        pytest.param((), "small", 95, Call("small", 5), id="a call gets no more than the time left"),
        pytest.param(
            (), "large", 0, Handoff("small", False), id="a job in the wrong queue is handed to the first model"
        ),
        pytest.param((), "gone", 0, Handoff("small", False), id="a job whose queue's model is gone is handed on"),
        pytest.param(
            (tried("small", E.TIMEOUT),), "small", 0, Handoff("large", False), id="a model that failed is passed over"
        ),
        pytest.param((tried("small", E.TIMEOUT),), "large", 0, Call("large", 10), id="the next model is asked"),
        pytest.param(
            (tried("small", E.TIMEOUT),),
            "large",
            30,
            Call("large", 10),
            id="a long wait does not send a job back unasked",
        ),
        pytest.param(
            (tried("small", E.TIMEOUT), tried("large", E.TIMEOUT), tried("small", E.TIMEOUT)),
            "small",
            50,
            Handoff("large", False),
            id="models take turns",
        ),
        pytest.param(
            (tried("small", E.NOT_INSTALLED),),
            "large",
            50,
            Call("large", 10),
            id="a model that cannot is not asked again",
        ),
        pytest.param(
            (tried("small", E.TIMEOUT), tried("large", E.TIMEOUT)),
            "large",
            0,
            Later("small", 1.0),
            id="when all are in their back-off the job waits for the first that is due",
        ),
        pytest.param(
            (tried("small", E.RATE_LIMITED, retry_after=40), tried("large", E.OVERLOADED)),
            "large",
            0,
            Later("large", 1.0),
            id="what is due first may be the last of the chain",
        ),
        pytest.param(
            (tried("small", E.RATE_LIMITED, retry_after=40), tried("large", E.NO_VRAM)),
            "large",
            0,
            Later("small", 45.0),
            id="only what passes is waited for, and for as long as the provider asked",
        ),
        pytest.param(
            (tried("small", E.TIMEOUT), tried("large", E.TIMEOUT)),
            "small",
            1,
            Call("small", 10),
            id="a model is asked again once its back-off is over",
        ),
        pytest.param(
            exhausted("small", "large"),
            "large",
            99,
            Fall(
                HoldReason.OUTAGE,
                "every model of its chain has failed (large: timeout; large: timeout; large: timeout)",
            ),
            id="a job falls when every model has had its rounds",
        ),
        pytest.param(
            (tried("small", E.AUTH), tried("large", E.OUT_OF_CREDITS)),
            "large",
            0,
            Fall(HoldReason.OUTAGE, "every model of its chain has failed (small: auth; large: out_of_credits)"),
            id="a job falls when no model can be asked again",
        ),
        pytest.param(
            (tried("small", E.CONTEXT_OVERFLOW), tried("large", E.CONTENT_FILTER, detail="no")),
            "large",
            0,
            Done(Failure(error_class=E.CONTENT_FILTER, detail="no")),
            id="a job that met only its own faults fails",
        ),
        pytest.param(
            (tried("small", E.CONTEXT_OVERFLOW), tried("large", E.AUTH)),
            "large",
            0,
            Fall(HoldReason.OUTAGE, "every model of its chain has failed (small: context_overflow; large: auth)"),
            id="a job that met an outage beside its own fault falls",
        ),
        pytest.param(
            (tried("small", E.BAD_REQUEST, detail="what?"),),
            "small",
            0,
            Done(Failure(error_class=E.BAD_REQUEST, detail="what?")),
            id="a bad request is bad everywhere",
        ),
        pytest.param(
            (tried("small", E.CANCELLED),), "small", 0, Done(Failure(error_class=E.CANCELLED)), id="a cancel ends it"
        ),
        pytest.param((), "small", 100, Done(EXPIRED_IN_QUEUE, expired=True), id="a deadline passes in the queue"),
        pytest.param(
            (tried("small", E.TIMEOUT, detail="10 s without a word"),),
            "large",
            100,
            Done(
                Failure(
                    error_class=E.TIMEOUT,
                    detail="its deadline passed; attempts: 1, the last: small: 10 s without a word",
                ),
                expired=True,
            ),
            id="a deadline passes after an attempt, which is told",
        ),
        pytest.param(
            (tried("small", E.RATE_LIMITED, retry_after=500), tried("large", E.NO_VRAM)),
            "large",
            0,
            Done(
                Failure(
                    error_class=E.TIMEOUT,
                    detail="no model may be asked again until 462 s after its deadline; "
                    "attempts: 2, the last: large: no_vram",
                ),
                expired=True,
            ),
            id="nothing is waited for past the deadline",
        ),
    ],
)
def test_decide(attempts, here, now, step):
    assert decide(job(), CATALOG, attempts, Conditions(here), now) == step


def test_an_interactive_job_is_handed_to_the_front():
    step = decide(job(urgency=Urgency.INTERACTIVE), CATALOG, (tried("small", E.TIMEOUT),), Conditions("small"), 0)
    assert step == Handoff("large", at_front=True)


def test_models_that_left_the_catalog_are_passed_over():
    assert decide(job(chain=("gone", "large")), CATALOG, (), Conditions("gone"), 0) == Handoff("large", False)


def test_a_job_none_of_whose_models_is_left_is_held():
    step = decide(job(chain=("gone",)), CATALOG, (), Conditions("gone"), 0)
    assert step == Fall(HoldReason.OUTAGE, "no model of its chain is in the catalog any more")


def test_a_failure_that_was_not_told_is_other():
    answered = tried("small", None)
    step = decide(job(chain=("small",)), CATALOG, (answered,), Conditions("small"), 0)
    assert isinstance(step, Fall), "an answered job is never decided again; if it were, nothing would be called"


def test_an_answer_is_an_answer_however_late():
    attempts = (tried("small", None, ended_at=999),)
    assert conclude(job(), CATALOG, attempts, OK, Conditions("small")) == Done(OK)


def test_a_failure_is_decided_at_the_moment_it_ended():
    attempts = (tried("small", E.TIMEOUT, ended_at=50),)
    failure = Failure(error_class=E.TIMEOUT)
    assert conclude(job(), CATALOG, attempts, failure, Conditions("small")) == Handoff("large", False)
    late = (tried("small", E.TIMEOUT, ended_at=100),)
    assert conclude(job(), CATALOG, late, failure, Conditions("small")).expired


def live(a_job, failures, jitters, waits):
    """Live a job's life: each delivery decides, each call fails. Yields (now, here, attempts, step)."""
    now, here, attempts = 0.0, a_job.chain[0], ()
    while True:
        conditions = Conditions(here, next(jitters))
        step = decide(a_job, CATALOG, attempts, conditions, now)
        yield now, here, attempts, step
        if isinstance(step, Call):
            error, took, retry_after = next(failures)
            now += min(took, step.timeout)
            attempts += (tried(step.model, error, ended_at=now, retry_after=retry_after),)
            step = conclude(a_job, CATALOG, attempts, Failure(error_class=error, retry_after=retry_after), conditions)
            yield now, here, attempts, step
            assert not isinstance(step, Call), "a model that has just failed is never due at once"
        if isinstance(step, Done | Fall):
            return
        here = step.model
        now += next(waits) + (step.delay if isinstance(step, Later) else 0)


def forever(values):
    while True:
        yield from values


chains = st.permutations(["small", "large", "huge"]).flatmap(
    lambda names: st.integers(1, 3).map(lambda n: tuple(names[:n]))
)
failures = st.lists(
    st.tuples(st.sampled_from(E), st.floats(0, 12), st.none() | st.floats(0, 90)), min_size=1, max_size=12
)
waits = st.lists(st.floats(0, 40), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(chain=chains, failures=failures, jitter=st.floats(0, 1), waits=waits, deadline=st.floats(1, 5000))
def test_every_story_ends_with_no_call_past_the_deadline(chain, failures, jitter, waits, deadline):
    a_job = job(chain=chain, deadline=deadline)
    handed_on = 0
    calls = 0
    for now, here, attempts, step in live(a_job, forever(failures), forever([jitter]), forever(waits)):
        assert len(attempts) <= ROUNDS * len(chain)
        if isinstance(step, Call):
            assert here == step.model
            assert 0 < step.timeout <= deadline - now
            assert sum(attempt.model == here for attempt in attempts) < ROUNDS
            handed_on, calls = 0, calls + 1
        elif isinstance(step, Handoff):
            assert step.model != here
            handed_on += 1
            assert handed_on <= len(chain), "no model is passed to twice without a call"
        elif isinstance(step, Later):
            assert step.delay > 0
            assert now + step.delay < deadline
            handed_on = 0
    assert isinstance(step, Done | Fall)
    assert calls <= ROUNDS * len(chain)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(chain=chains, failures=failures, jitters=st.lists(st.floats(0, 1), min_size=1, max_size=5), waits=waits)
def test_a_model_is_never_asked_again_before_its_back_off_is_over(chain, failures, jitters, waits):
    last: dict[str, Attempt] = {}
    for now, _, attempts, step in live(
        job(chain=chain, deadline=900), forever(failures), forever(jitters), forever(waits)
    ):
        last |= {attempt.model: attempt for attempt in attempts}
        if isinstance(step, Call) and step.model in last:
            before = last[step.model]
            assert before.may_be_repeated
            assert now >= before.ended_at + max(0.75, before.retry_after or 0)


@pytest.mark.parametrize("error", E)
def test_a_single_kind_of_failure_always_ends(error):
    story = list(live(job(), forever([(error, 1.0, None)]), forever([0.5]), forever([0.0])))
    assert isinstance(story[-1][3], Done | Fall)
