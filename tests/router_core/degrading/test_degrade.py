"""What follows a fall: every remedy, and the hold after it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.open_fall_policy import (
    KEPT_REPLY,
    KEPT_TO_DEADLINE_REPLY,
    LAST_REPLY,
    OpenFallPolicy,
    validate_remedies,
)
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.deciding.decide import conclude
from openfall.router_core.deciding.steps import Conditions, Fall
from openfall.router_core.degrading.degrade import DefaultFallback, Degraded, degrade
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, BlockReason, HoldReason, Remedy, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import CATALOG, CLOUD, EVEN, LOCAL, NOW, blocked, catalog, completion, job, tried

OTHER, LAST, CANNED, HOLD, FAIL = (
    Remedy.DEFAULT_FALLBACK, Remedy.LAST_ANSWER, Remedy.CANNED_REPLY, Remedy.HOLD, Remedy.FAIL
)  # fmt: skip
OUTAGE, SWITCH, BUDGET, OWN, POISONED = (
    HoldReason.OUTAGE, HoldReason.LOCAL_ONLY, HoldReason.BUDGET, HoldReason.OWN_FAULT, HoldReason.POISONED
)  # fmt: skip
AWAY = {"small": blocked(), "large": blocked()}
WHY = "no model of its chain can be called: small: its breaker is open; large: its breaker is open"
REMEMBERED = completion("as before", body={"model": "small"})


def policy(*remedies, by=CATALOG, **more):
    """The catalog of the tests, with one list of remedies for all urgencies."""
    section = OpenFallPolicy(remedies=dict.fromkeys(Urgency, remedies), **more)
    return Catalog.model_validate({**dict(by), "open_fall": section})


def with_role(by=CATALOG, **role):
    return Catalog.model_validate({**dict(by), "roles": {**by.roles, "own": Role(chain=LOCAL, **role)}})


def fell(reason=OUTAGE, **more):
    return FallContext(**{"reason": reason, "detail": WHY, "at": NOW} | more)


def land(by, of=None, fallen=None, *, now=NOW, local_only=False, **models):
    fleet = FleetState(models or AWAY, local_only)
    return degrade(of or job(), by, fallen or fell(), fleet, now)


def kept(**fields):
    """A hold at NOW, for `hold_for` of the policy."""
    return Hold(**fields, keep_until=NOW + CATALOG.open_fall.hold_for)


class TestRemedies:
    def test_by_default_a_job_is_held_for_its_models_without_a_reply(self):
        assert land(CATALOG) == kept(reason=OUTAGE, detail=WHY, models=LOCAL)

    def test_by_default_an_interactive_job_gets_the_canned_reply_meanwhile(self):
        of = job(urgency=Urgency.INTERACTIVE)
        words = synthetic_reply(of, KEPT_REPLY, NOW)
        assert land(CATALOG, of) == kept(reason=OUTAGE, detail=WHY, models=LOCAL, by=CANNED, reply=words)

    def test_a_canned_reply_that_nothing_follows_ends_the_job(self):
        words = synthetic_reply(job(), "Later.", NOW)
        assert land(policy(CANNED, canned_reply="Later.")) == Degraded(CANNED, words, WHY)

    def test_without_a_configured_text_the_reply_says_whether_the_request_is_kept(self):
        assert land(policy(CANNED)).outcome.text == LAST_REPLY
        assert land(policy(CANNED, HOLD)).reply.text == KEPT_REPLY

    def test_a_job_whose_caller_set_a_deadline_is_kept_until_then_and_the_reply_says_so(self):
        held = land(policy(CANNED, HOLD), fallen=fell(has_deadline=True))
        assert (held.reply.text, held.keep_until) == (KEPT_TO_DEADLINE_REPLY, 0.0)

    def test_the_last_answer_is_the_reply_when_there_is_one(self):
        by = policy(LAST, CANNED, HOLD)
        assert land(by).by is CANNED
        held = land(by, fallen=fell(remembered=REMEMBERED))
        assert held == kept(reason=OUTAGE, detail=WHY, models=LOCAL, by=LAST, reply=REMEMBERED)

    def test_the_last_answer_ends_the_job_where_nothing_is_held(self):
        kept = fell(remembered=REMEMBERED)
        assert land(policy(LAST, FAIL), fallen=kept) == Degraded(LAST, REMEMBERED, WHY)

    def test_the_list_of_its_role_goes_before_that_of_its_urgency(self):
        by = with_role(open_fall=(FAIL,))
        assert land(by, job(role="own")).by is FAIL
        assert isinstance(land(by), Hold)

    def test_a_job_without_a_role_has_the_list_of_its_task(self):
        task = CATALOG.tasks["code"].model_copy(update={"open_fall": (FAIL,)})
        by = Catalog.model_validate({**dict(CATALOG), "tasks": {"code": task}})
        assert land(by, job(task="code")).by is FAIL
        assert isinstance(land(by, job(role="many", task="code")), Hold)

    def test_a_role_without_a_list_has_that_of_its_urgency_but_may_have_a_text_of_its_own(self):
        by = policy(CANNED, by=with_role(canned_reply="I sleep."), canned_reply="Later.")
        assert land(by, job(role="own")).outcome.text == "I sleep."
        assert land(by, job(role="many")).outcome.text == "Later."


class TestFailures:
    @pytest.mark.parametrize(
        ("fallen", "models", "error"),
        [
            pytest.param(fell(SWITCH), AWAY, E.LOCAL_ONLY, id="rules on staying local"),
            pytest.param(fell(BUDGET, attempts=[tried("small")]), AWAY, E.BUDGET, id="a spent budget"),
            pytest.param(fell(POISONED), AWAY, E.CRASHED, id="it kills its workers"),
            pytest.param(
                fell(attempts=[tried("small", E.AUTH), tried("large", E.TIMEOUT), tried("large", None)]), AWAY,
                E.TIMEOUT, id="the last call that failed",
            ),
            pytest.param(
                fell(), {"small": blocked(NOW), "large": blocked(reason=BlockReason.NO_WORKER)}, E.NO_WORKER,
                id="the first block, when nothing was called",
            ),
            pytest.param(fell(), {"opus": blocked()}, E.OTHER, id="what is over already"),
        ],
    )  # fmt: skip
    def test_a_job_that_ends_failed_has_the_error_class_of_its_fall(self, fallen, models, error):
        action = land(policy(FAIL), fallen=fallen, **models)
        assert action == Degraded(FAIL, Failure(error_class=error, detail=WHY), WHY, fallen.reason)


class TestDefaultFallbacks:
    def test_the_best_model_that_costs_nothing_stands_in(self):
        by = policy(OTHER, HOLD)
        step = land(by, job(("opus",)), opus=blocked())
        assert step == DefaultFallback(
            "large", False, "every model of its chain is away; its default fallback is large"
        )
        assert land(by, job(("opus",), task="code"), opus=blocked()).model == "small"

    def test_a_metered_model_stands_in_only_if_the_policy_names_it(self):
        assert isinstance(land(policy(OTHER, HOLD)), Hold)
        named = policy(OTHER, HOLD, default_fallbacks=("haiku", "opus"))
        assert land(named).model == "haiku"
        assert land(named, haiku=blocked()).model == "opus"

    def test_it_is_outside_the_chain(self):
        by = policy(OTHER, HOLD, default_fallbacks=("small", "opus"))
        assert land(by, small=blocked(NOW)).model == "opus"
        assert land(policy(OTHER, HOLD), job(("opus", "large")), opus=blocked()).model == "small"

    def test_an_interactive_job_goes_to_the_front(self):
        step = land(policy(OTHER, HOLD), job(("opus",), urgency=Urgency.INTERACTIVE), opus=blocked())
        assert step.at_front

    @pytest.mark.parametrize(
        ("of", "by", "switch"),
        [
            pytest.param(job(local_only=True), catalog(), False, id="the job"),
            pytest.param(job(), catalog(), True, id="the fleet"),
            pytest.param(job(), catalog(local_only=True), False, id="the configuration"),
            pytest.param(job(), catalog(cloud=Cloud.NO), False, id="its urgency"),
        ],
    )
    def test_each_local_only_rule_holds_for_the_default_fallback_too(self, of, by, switch):
        named = policy(OTHER, HOLD, by=by, default_fallbacks=("opus",))
        assert isinstance(land(named, of, local_only=switch), Hold)
        late = policy(OTHER, HOLD, by=catalog(cloud=Cloud.WHEN_LATE), default_fallbacks=("opus",))
        assert land(late).model == "opus"

    def test_it_serves_what_the_prompt_needs(self):
        sees = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
        assert isinstance(land(policy(OTHER, HOLD, default_fallbacks=("opus",)), job(body=sees)), Hold)

    def test_it_takes_calls(self):
        by = policy(OTHER, HOLD)
        assert land(by, job(("opus",)), large=blocked()).model == "small"
        assert isinstance(land(by, job(("opus",)), small=blocked(), large=blocked()), Hold)

    def test_no_model_stands_in_twice(self):
        by = policy(OTHER, HOLD, default_fallbacks=("opus", "haiku"))
        assert land(by, fallen=fell(attempts=[tried("small"), tried("opus")])).model == "haiku"
        assert land(by, fallen=fell(default_fallback="opus")).model == "haiku"
        both = fell(attempts=[tried("opus")], default_fallback="haiku", falls=3)
        assert isinstance(land(by, fallen=both), Hold)

    def test_no_model_stands_in_for_a_poisoned_job(self):
        step = land(policy(OTHER, CANNED), fallen=fell(POISONED), opus=blocked())
        assert (step.by, step.reason) == (CANNED, POISONED)

    def test_without_a_budget_only_a_model_that_costs_nothing_stands_in(self):
        by = policy(OTHER, HOLD, default_fallbacks=("haiku", "large"))
        step = land(by, job(("opus",)), fell(BUDGET), opus=blocked())
        assert step == DefaultFallback("large", False, "its budget is spent; its default fallback is large", BUDGET)


class TestTheFallOfADefaultFallback:
    """The reason is that of the job's own chain, and not of the default fallback."""

    NOR = "nor does its default fallback opus answer: timeout"

    def test_the_reason_is_that_of_its_own_chain(self):
        fallen = fell(attempts=[tried("opus", E.INVALID_OUTPUT)], default_fallback="opus", falls=2, detail=self.NOR)
        step = land(CATALOG, job(("haiku",)), fallen, local_only=True, opus=blocked())
        own = "no model of its chain can be called: haiku: not local, and the fleet's local-only switch is on"
        assert step == kept(reason=SWITCH, detail=f"{own}; {self.NOR}", models=("haiku",))

    def test_it_is_no_strike(self):
        attempts = [tried("small", E.AUTH), tried("opus", E.AUTH)]
        once = fell(attempts=attempts, default_fallback="opus", falls=2, detail=self.NOR)
        assert land(CATALOG, job(("small",)), once, large=blocked()).strikes == 0
        again = fell(attempts=attempts, default_fallback="opus", falls=4, detail=self.NOR)
        assert land(CATALOG, job(("small",)), again, large=blocked()).strikes == 1

    def test_a_poisoned_job_stays_poisoned_after_its_default_fallback(self):
        assert land(CATALOG, fallen=fell(POISONED, default_fallback="opus")) == kept(reason=POISONED, detail=WHY)

    def test_a_fault_that_only_the_default_fallback_finds_does_not_end_the_job(self):
        when = Conditions("opus", EVEN, FleetState(AWAY), default_fallback=True)
        failure = Failure(error_class=E.CONTEXT_OVERFLOW)
        step = conclude(job(), CATALOG, (tried("opus", E.CONTEXT_OVERFLOW),), failure, when)
        assert step == Fall(OUTAGE, "nor does its default fallback opus answer: context_overflow")


ALL = (*LOCAL, *CLOUD)
lists = st.lists(st.sampled_from(Remedy), min_size=1, max_size=4).filter(
    lambda remedies: validate_remedies(remedies) is None
)
fleets = st.builds(
    lambda away, switch: FleetState({alias: blocked() for alias in away}, switch),
    st.sets(st.sampled_from(ALL)),
    st.booleans(),
)


class TestStories:
    @settings(max_examples=400)
    @given(
        remedies=lists.map(tuple),
        named=st.lists(st.sampled_from(ALL), unique=True).map(tuple),
        chain=st.lists(st.sampled_from([*ALL, "gone"]), min_size=1, unique=True).map(tuple),
        reason=st.sampled_from(sorted(set(HoldReason) - {HoldReason.UNREADABLE})),
        moods=st.lists(fleets, min_size=1, max_size=6),
        terms=st.fixed_dictionaries({"local_only": st.booleans(), "urgency": st.sampled_from(Urgency)}),
        cloud=st.sampled_from(Cloud),
    )
    def test_a_job_whose_stand_ins_all_fail_is_held_or_ends_after_each_was_called(
        self, remedies, named, chain, reason, moods, terms, cloud
    ):
        by, of = policy(*remedies, by=catalog(cloud=cloud), default_fallbacks=named), job(chain, **terms)
        fallen, stood_in = fell(reason), []
        for number in range(len(ALL) + 1):
            fleet = moods[number % len(moods)]
            action = degrade(of, by, fallen, fleet, NOW)
            if not isinstance(action, DefaultFallback):
                break
            assert reason is not POISONED
            assert action.model not in (*chain, *stood_in)
            assert fleet.model(action.model).blocked is None
            stays = of.local_only or fleet.local_only or cloud is Cloud.NO
            assert by.is_local(action.model) or (not stays and action.model in named)
            stood_in.append(action.model)
            attempts = [tried(model, E.CONTEXT_OVERFLOW) for model in stood_in]
            fallen = fell(
                attempts=attempts, default_fallback=action.model, falls=number + 2, detail="nor does it answer"
            )
        assert isinstance(action, Hold | Degraded)
        if isinstance(action, Hold):
            assert set(action.models) <= set(chain)
            assert action.reason in RELEASED_BY_ITSELF or not action.models
            assert action.strikes == 0
            assert action.ready_at == 0 or action.ready_at > NOW
        else:
            assert Remedy.HOLD not in remedies[remedies.index(action.by) :]


def test_a_job_with_only_invalid_answers_makes_two_calls_to_each_model_of_its_chain_and_one_to_each_default_fallback():
    by, of, attempts = policy(OTHER, HOLD, by=catalog(), default_fallbacks=CLOUD), job(), ()
    current_model, default_fallback, falls = "small", None, 0
    while True:
        attempts += (tried(current_model, E.INVALID_OUTPUT, NOW + 10 * len(attempts)),)
        when = Conditions(current_model, EVEN, default_fallback=default_fallback is not None)
        step = conclude(of, by, attempts, Failure(error_class=E.INVALID_OUTPUT), when)
        if isinstance(step, Fall):
            falls += 1
            fallen = fell(step.reason, attempts=attempts, falls=falls, default_fallback=default_fallback)
            step = degrade(of, by, fallen, FleetState(), attempts[-1].ended_at)
            default_fallback = step.model if isinstance(step, DefaultFallback) else None
        if isinstance(step, Hold):
            break
        current_model = step.model
    assert (step.reason, step.models) == (OWN, ())
    calls = [attempt.model for attempt in attempts]
    assert [calls.count(model) for model in (*LOCAL, *CLOUD)] == [2, 2, 1, 1]
