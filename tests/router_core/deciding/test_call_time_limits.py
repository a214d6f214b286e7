"""The time limits of a call: a call uses what its successors do not need, and a caller has a reply in time."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS
from openfall.router_core.deciding.call_time_limits import ASSUMED_LOAD_SECONDS
from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.reconsider import reconsider
from openfall.router_core.deciding.steps import Call, Fall, Handoff, Later
from openfall.router_core.jobs.outcome import Answer, Completion, Failure
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, Urgency
from tests.router_core.decisions import NOW, blocked, completion, conditions, job, tried

MODELS = ("first", "second", "third", "fourth", "fifth")
INTERACTIVE = URGENCY_DEFAULTS[Urgency.INTERACTIVE]


def build(*, protocol="openai", remedies=(Remedy.CANNED_REPLY, Remedy.HOLD), urgency=None, roles=None, **of_first):
    """Five models at one backend, with the default urgencies."""
    models = {alias: ModelSpec(upstream=alias, backends=("box",)) for alias in MODELS}
    models["first"] = ModelSpec(upstream="first", backends=("box",), **of_first)
    return Catalog(
        backends={"box": Backend(url="http://box", pool="gpu", protocol=protocol)},
        models=models,
        roles=roles or {},
        urgency=URGENCY_DEFAULTS | (urgency or {}),
        open_fall=OpenFallPolicy(remedies=OpenFallPolicy().remedies | {Urgency.INTERACTIVE: remedies}),
    )


CATALOG = build()


def requested(chain=MODELS[:2], **more):
    """An interactive job, with two minutes to its deadline."""
    return job(chain, **{"urgency": Urgency.INTERACTIVE, "deadline": NOW + 120} | more)


def call(of, attempts=(), current="first", at=NOW, by=CATALOG, **more):
    step = decide(of, by, attempts, conditions(current, **more), at)
    assert isinstance(step, Call), step
    return step


class TestOneCall:
    def test_an_interactive_call_is_limited_until_its_first_token_and_between_its_pieces(self):
        step = call(requested())
        assert (step.timeout, step.stream_limits.first_token, step.stream_limits.stall) == (90, 5, 5)

    @pytest.mark.parametrize(("urgency", "timeout"), [(Urgency.BACKGROUND, 300), (Urgency.BATCH, 900)])
    def test_a_call_without_a_caller_who_waits_may_take_its_time(self, urgency, timeout):
        step = call(requested(urgency=urgency, deadline=NOW + 3600))
        assert (step.timeout, step.stream_limits) == (timeout, None)

    def test_two_thousand_tokens_at_five_a_second_fit_into_a_batch_call(self):
        assert call(requested(urgency=Urgency.BATCH, deadline=NOW + 86_400)).timeout > 2000 / 5 + ASSUMED_LOAD_SECONDS

    def test_the_limits_of_a_model_are_for_every_urgency(self):
        by = build(timeout=40, first_token_timeout=3, stall_timeout=2)
        for urgency in Urgency:
            step = call(requested(urgency=urgency), by=by)
            assert (step.timeout, step.stream_limits.first_token, step.stream_limits.stall) == (40, 3, 2)

    def test_a_tool_call_may_be_kept_back_for_twice_as_long(self):
        limits = call(requested(body={"tools": [{"type": "function"}]})).stream_limits
        assert (limits.first_token, limits.stall) == (10, 10)

    @pytest.mark.parametrize(("load_time", "load"), [(45, 45), (None, ASSUMED_LOAD_SECONDS)])
    def test_a_model_that_must_be_loaded_first_has_its_load_time(self, load_time, load):
        by = build(protocol="ollama", load_time=load_time)
        limits = call(requested(), by=by).stream_limits
        assert (limits.load, limits.first_token_after_load, limits.first_token) == (load, 5, 5)
        assert call(requested()).stream_limits.load == 0, "its backend has all of its models ready"

    def test_the_last_call_of_a_short_deadline_leaves_time_for_open_fall(self):
        step = call(requested(MODELS[:1], deadline=NOW + 6))
        assert step.timeout == 5
        assert call(
            requested(MODELS[:1], deadline=NOW + 6, accepted_at=NOW - 1), at=NOW + 5.9
        ).timeout == pytest.approx(0.1)


class TestTheChain:
    def test_the_deadline_is_shared_out_over_the_chain(self):
        step = call(requested(MODELS[:3], deadline=NOW + 30))
        assert step.timeout == 30 - 2 * 3, "two models and Open Fall come after it"

    def test_only_models_that_can_be_called_get_a_share(self):
        step = call(requested(MODELS[:3], deadline=NOW + 30), second=blocked(), third=blocked())
        assert step.timeout == 30 - 2

    def test_a_default_fallback_has_a_share_of_its_own(self):
        by = build(remedies=(Remedy.DEFAULT_FALLBACK, Remedy.CANNED_REPLY))
        assert call(requested(MODELS[:1], deadline=NOW + 30), by=by).timeout == 30 - 2 * 2

    def test_a_hanging_chain_of_five_is_over_before_the_caller_needs_a_reply(self):
        """Each model uses its limit up. The last one ends early enough for Open Fall."""
        of, attempts, now, current = requested(MODELS), (), NOW, "first"
        while isinstance(step := decide(of, CATALOG, attempts, conditions(current), now), Call | Handoff):
            if isinstance(step, Call):
                now += step.stream_limits.first_token
                attempts = (*attempts, tried(current, ended_at=now))
            else:
                current = step.model
        assert isinstance(step, Fall)
        assert [attempt.model for attempt in attempts] == list(MODELS)
        assert now - NOW <= INTERACTIVE.reply_within - 2

    def test_a_trickle_of_every_model_is_over_before_the_caller_needs_a_reply(self):
        """The first token arrives at once, then there is no progress."""
        of, attempts, now, current = requested(MODELS), (), NOW, "first"
        while isinstance(step := decide(of, CATALOG, attempts, conditions(current), now), Call | Handoff):
            if isinstance(step, Call):
                now += min(step.stream_limits.stall, step.stream_limits.start)
                attempts = (*attempts, tried(current, ended_at=now))
            else:
                current = step.model
        assert isinstance(step, Fall)
        assert now - NOW <= INTERACTIVE.reply_within - 2


class TestTheReply:
    def test_a_job_falls_when_its_caller_needs_a_reply(self):
        hung = tried("first", ended_at=NOW + 11.5, detail="no first token within 5 s")
        step = decide(requested(), CATALOG, [hung], conditions("second"), NOW + 11.5)
        assert step == Fall(
            HoldReason.OUTAGE,
            "no answer has begun in 12 s since its acceptance, and its caller needs a reply within 14 s (reply_within)"
            ": no time is left for a call. first: timeout, no first token within 5 s; "
            "second: no call ended meanwhile",
        )

    @pytest.mark.parametrize(
        ("progressed_at", "deadline", "expected"),
        [
            (NOW + 20, NOW + 120, "in 12 s since its last progress, and its caller needs a reply within 14 s"),
            (NOW, NOW + 12.5, "in 12 s since its acceptance, and it expires within 12 s: no time"),
            (NOW + 106, NOW + 119, "in 12 s since its last progress, and it expires within 13 s: no time"),
        ],
    )
    def test_the_fall_names_the_limit_and_from_when_it_counts(self, progressed_at, deadline, expected):
        hung = tried("first", ended_at=progressed_at + 12, progressed_at=progressed_at)
        step = decide(requested(deadline=deadline), CATALOG, [hung], conditions("second"), progressed_at + 12)
        assert isinstance(step, Fall)
        assert f"no answer has begun {expected}" in step.detail

    def test_loads_that_use_up_the_deadline_end_in_a_reply_and_not_in_silence(self):
        loaded = tried("first", ended_at=NOW + 118, progressed_at=NOW + 118)
        assert isinstance(decide(requested(), CATALOG, [loaded], conditions("second"), NOW + 118), Fall)

    def test_after_its_failed_call_too(self):
        hung = tried("first", ended_at=NOW + 11.5)
        failure = Failure(error_class=ErrorClass.TIMEOUT)
        assert isinstance(conclude(requested(), CATALOG, [hung], failure, conditions("first")), Fall)

    def test_a_job_that_was_not_called_yet_is_called_however_late_it_was_claimed(self):
        limits = call(requested(), at=NOW + 13).stream_limits
        assert limits.first_token == 2

    def test_the_time_starts_again_when_an_answer_or_a_load_has_made_progress(self):
        stalled = tried("first", ended_at=NOW + 40, progressed_at=NOW + 35)
        assert call(requested(), [stalled], "second", at=NOW + 40).stream_limits.first_token == 5

    def test_a_caller_who_has_had_a_reply_waits_for_the_answer(self):
        when = conditions("second")
        after = type(when)(when.current_model, when.jitter, when.fleet, replied=True)
        step = decide(requested(), CATALOG, [tried("first", ended_at=NOW + 60)], after, NOW + 60)
        assert isinstance(step, Call)
        assert (step.stream_limits.first_token, step.stream_limits.start) == (5, None)

    def test_no_model_is_waited_for_longer_than_the_caller_waits_for_a_reply(self):
        soon, late = (
            decide(requested(MODELS[:1]), CATALOG, [tried("first", ended_at=at)], conditions("first"), at)
            for at in (NOW + 5, NOW + 10.5)
        )
        assert isinstance(soon, Later)
        assert isinstance(late, Fall)

    def test_a_default_fallback_that_is_too_late_falls_again(self):
        when = conditions("fifth")
        when = type(when)(when.current_model, when.jitter, when.fleet, default_fallback=True)
        of, attempts = requested(), [tried("first"), tried("second")]
        assert isinstance(decide(of, CATALOG, attempts, when, NOW + 5), Call)
        late = decide(of, CATALOG, attempts, when, NOW + 13)
        assert late == Fall(
            HoldReason.OUTAGE,
            "its default fallback began no answer either in 13 s since its acceptance, and its caller needs a reply "
            "within 14 s (reply_within): no time is left for a call. fifth: no call ended meanwhile",
        )

    def test_the_best_answer_so_far_ends_an_ensemble_whose_caller_needs_a_reply(self):
        by = build(roles={"many": Role(chain=MODELS, ensemble=Ensemble(answers=2))})
        when = conditions("second", answers=[Answer("first", "box", completion("hello"))])
        of = requested(MODELS, role="many")
        assert isinstance(decide(of, by, [tried("first", None)], when, NOW + 5), Call)
        done = decide(of, by, [tried("first", None)], when, NOW + 13)
        assert isinstance(done.outcome, Completion)


class TestAJobThatWaits:
    def test_an_interactive_job_falls_from_its_queue_when_its_caller_needs_a_reply(self):
        busy = conditions("first")
        assert reconsider(requested(MODELS[:1]), CATALOG, (), busy, NOW + 10.9) is None
        assert isinstance(reconsider(requested(MODELS[:1]), CATALOG, (), busy, NOW + 11.1), Fall)

    def test_unless_its_caller_has_had_a_reply(self):
        when = conditions("first")
        after = type(when)(when.current_model, when.jitter, when.fleet, replied=True)
        assert reconsider(requested(MODELS[:1]), CATALOG, (), after, NOW + 60) is None

    def test_a_background_job_stays(self):
        of = requested(MODELS[:1], urgency=Urgency.BACKGROUND, deadline=NOW + 3600)
        assert reconsider(of, CATALOG, (), conditions("first"), NOW + 600) is None
