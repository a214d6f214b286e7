"""Whole lives of jobs: every story ends, within its bounds, whatever the models and the fleet do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.deciding.steps import Call, Conditions, Done, Fall, Handoff, Later
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, ErrorClass, Urgency
from tests.router_core.decisions import CATALOG, CLOUD, LOCAL, NOW, catalog, job, tried

TIMES = 3
START_WITHIN = CATALOG.urgency[Urgency.INTERACTIVE].start_within
ROUNDED = 1e-6
ALL = (*LOCAL, *CLOUD)


@dataclass(frozen=True)
class Moment:
    """One step of a story: when, in whose queue, after which attempts, in which fleet, and what was decided."""

    now: float
    current_model: str
    attempts: tuple
    fleet: FleetState
    step: object


def live(a_job, by, fleets, failures, waits):
    """Live a job's life: each delivery decides, each call fails, each queue takes its time."""
    now, current_model, attempts = NOW, a_job.chain[0], ()
    while True:
        conditions = conditions_at(current_model, next(fleets), now)
        step = decide(a_job, by, attempts, conditions, now)
        yield Moment(now, current_model, attempts, conditions.fleet, step)
        if isinstance(step, Call):
            error, took, retry_after = next(failures)
            now += min(took, step.timeout)
            attempts += (tried(step.model, error, ended_at=now, retry_after=retry_after, why=step.why),)
            conditions = conditions_at(current_model, next(fleets), now)
            step = conclude(a_job, by, attempts, Failure(error_class=error, retry_after=retry_after), conditions)
            yield Moment(now, current_model, attempts, conditions.fleet, step)
            assert not isinstance(step, Call), "a model that has just failed is never due at once"
        if isinstance(step, Done | Fall):
            return
        current_model = step.model
        now += next(waits) + (step.delay if isinstance(step, Later) else 0)


def conditions_at(current_model, drawn, now):
    """A fleet of `blocked for` a model; blocked for 0 seconds is not blocked. The last of `drawn`: may it retry?"""
    blocks, local_only, may_retry = drawn
    states = {
        alias: ModelState(blocked=Blocked(BlockReason.BREAKER, now + seconds, "open") if seconds else None)
        for alias, seconds in zip(ALL, blocks, strict=True)
    }
    return Conditions(current_model, 0.5, FleetState(states, local_only), may_retry=may_retry)


chains = st.permutations(ALL).flatmap(lambda names: st.integers(1, 4).map(lambda n: tuple(names[:n])))
failing = st.lists(
    st.tuples(st.sampled_from(ErrorClass), st.floats(0, 12), st.none() | st.floats(0, 90)), min_size=1, max_size=12
)
waiting = st.lists(st.floats(0, 40), min_size=1, max_size=6)
block = st.sampled_from([0.0, 0.0, 0.0, 5.0, 60.0, FOREVER])
moods = st.lists(
    st.tuples(
        st.tuples(*[block] * 4),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def check(a_job, by, moment):
    """What holds of every step."""
    step, now = moment.step, moment.now
    if isinstance(step, Call):
        state = moment.fleet.model(step.model)
        assert step.model == moment.current_model
        assert step.model in a_job.chain
        assert state.blocked is None
        assert 0 < step.timeout <= a_job.deadline - now
        assert by.is_local(step.model) or not (a_job.local_only or moment.fleet.local_only)
    if isinstance(step, Handoff):
        assert step.model != moment.current_model
        assert moment.fleet.model(step.model).blocked is None
        assert by.is_local(step.model) or not (a_job.local_only or moment.fleet.local_only)
    if isinstance(step, Later):
        assert step.delay > 0
        assert now + step.delay < a_job.deadline
        blocked = moment.fleet.model(step.model).blocked
        assert blocked is None or blocked.until - now <= START_WITHIN, (
            "no caller waits for a timeout to learn of an outage"
        )
        assert a_job.urgency is not Urgency.INTERACTIVE or step.delay <= START_WITHIN + ROUNDED
        assert by.is_local(step.model) or not (a_job.local_only or moment.fleet.local_only)
    if isinstance(step, Call | Handoff | Later):
        assert step.why


@settings(max_examples=400)
@given(
    chain=chains,
    failures=failing,
    fleets=moods,
    waits=waiting,
    terms=st.fixed_dictionaries(
        {"local_only": st.booleans(), "urgency": st.sampled_from(Urgency), "deadline": st.floats(NOW + 1, NOW + 5000)}
    ),
    cloud=st.sampled_from(Cloud),
)
def test_every_story_keeps_to_its_bounds(chain, failures, fleets, waits, terms, cloud):
    a_job, by = job(chain, **terms), catalog(cloud=cloud, max_retries=TIMES)
    fleets = cycle(fleets)
    calls, steps_without_call = [], 0
    for moment in live(a_job, by, fleets, cycle(failures), cycle(waits)):
        check(a_job, by, moment)
        if isinstance(moment.step, Call):
            calls.append(moment.step.model)
            assert cloud is not Cloud.NO or by.is_local(moment.step.model)
        steps_without_call = 0 if isinstance(moment.step, Call) else steps_without_call + 1
        if steps_without_call > 200:
            break  # a fleet whose blocks come and go for ever: no call is made, and the deadline ends it
    assert all(calls.count(alias) <= 1 + TIMES for alias in chain)
    assert len(calls) <= len(chain) * (1 + TIMES)


@settings(max_examples=300)
@given(chain=chains, failures=failing, waits=waiting, urgency=st.sampled_from(Urgency))
def test_in_a_constant_fleet_every_story_ends_and_no_job_is_handed_back_and_forth(chain, failures, waits, urgency):
    a_job = job(chain, urgency=urgency, deadline=NOW + 5000)
    calm = ((0.0,) * 4, False, True)
    handed_on = 0
    for moment in live(a_job, CATALOG, cycle([calm]), cycle(failures), cycle(waits)):
        handed_on = handed_on + 1 if isinstance(moment.step, Handoff) else 0
        assert handed_on <= 1, "a job that is handed on is called by its new model"
    assert isinstance(moment.step, Done | Fall)


@settings(max_examples=300)
@given(chain=chains, failures=failing, waits=waiting, urgency=st.sampled_from(Urgency))
def test_no_model_is_called_again_before_its_back_off_is_over_or_after_a_failure_without_retries(
    chain, failures, waits, urgency
):
    last = {}
    calm = ((0.0,) * 4, False, True)
    a_job = job(chain, urgency=urgency, deadline=NOW + 900)
    for moment in live(a_job, CATALOG, cycle([calm]), cycle(failures), cycle(waits)):
        last |= {attempt.model: attempt for attempt in moment.attempts}
        if isinstance(moment.step, Call) and moment.step.model in last:
            before = last[moment.step.model]
            assert before.may_be_repeated
            assert moment.now >= before.ended_at + max(1.0, before.retry_after or 0)


@pytest.mark.parametrize("urgency", Urgency)
@pytest.mark.parametrize("error", ErrorClass)
def test_a_single_kind_of_failure_always_ends(error, urgency):
    calm = ((0.0,) * 4, False, True)
    a_job = job(ALL, urgency=urgency)
    *_, end = live(a_job, CATALOG, cycle([calm]), cycle([(error, 1.0, None)]), cycle([0.0]))
    assert isinstance(end.step, Done | Fall)


@settings(max_examples=400)
@given(
    chain=chains,
    failures=st.lists(st.tuples(st.sampled_from(ErrorClass), st.floats(0, 60)), max_size=6),
    mood=moods,
    age=st.floats(0, 200),
    terms=st.fixed_dictionaries({"local_only": st.booleans(), "urgency": st.sampled_from(Urgency)}),
)
def test_reconsider_never_calls_and_never_hands_a_job_to_a_forbidden_model(chain, failures, mood, age, terms):
    a_job, now = job(chain, **terms), NOW + age
    attempts = tuple(
        tried(alias, error, ended_at=now - ago) for alias, (error, ago) in zip(cycle(chain), failures, strict=False)
    )
    conditions = conditions_at(chain[-1], mood[0], now)
    step = reconsider(a_job, CATALOG, attempts, conditions, now)
    assert not isinstance(step, Call)
    if step is not None:
        check(a_job, CATALOG, Moment(now, chain[-1], attempts, conditions.fleet, step))
    if now >= a_job.deadline:
        assert isinstance(step, Done)
