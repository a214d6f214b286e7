"""Ensembles: which model is called next, which answer is picked, and how the job goes through the queue."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openfall.router_core.catalog.answer_policy import Ensemble, Pick
from openfall.router_core.deciding.decide import conclude, decide
from openfall.router_core.deciding.ensemble import (
    MAX_COMPARED_CHARS,
    MAX_SHOWN_CHARS,
    VERDICT_TOKENS,
    NextModel,
    agreements,
    judge_body,
    next_step,
    parse_verdict,
    pick,
    rated,
)
from openfall.router_core.deciding.steps import Call, Done, Fall, Handoff
from openfall.router_core.jobs.outcome import Answer, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import Fallback, Urgency
from tests.router_core.decisions import CATALOG, CLOUD, LOCAL, NOW, blocked, catalog, completion, conditions, job, tried

ALL = (*LOCAL, *CLOUD)
TWO, THREE = Ensemble(answers=2), Ensemble(answers=3, pick=Pick.AGREEMENT)
JUDGED = Ensemble(answers=2, pick=Pick.JUDGE, judge="opus")


def answer(model, text="an answer"):
    return Answer(model, "box", completion(text))


def answered(*models, **more):
    return tuple(tried(model, None, **more) for model in models)


A, B, C = answer("small", "the sky is blue"), answer("large", "grass is green"), answer("haiku", "the sky is blue!")


@pytest.mark.parametrize(
    ("plan", "answers", "ready", "judge", "step"),
    [
        pytest.param(
            TWO, (A,), ("large", "opus"), None, NextModel("large", "for answer 2 of 2"), id="the next that is ready"
        ),
        pytest.param(TWO, (A, B), ("opus",), None, None, id="no model when there are enough answers"),
        pytest.param(THREE, (A, B), (), None, None, id="no model when none is ready"),
        pytest.param(
            JUDGED,
            (A, B),
            ("haiku",),
            "opus",
            NextModel("opus", "judging 2 answers", is_judging=True),
            id="then the judge",
        ),
        pytest.param(JUDGED, (A,), (), "opus", None, id="a single answer needs no judge"),
        pytest.param(JUDGED, (A, B), (), None, None, id="no judge when it may not be called"),
        pytest.param(TWO, (A, B), (), "opus", None, id="no judge when none is wanted"),
    ],
)
def test_the_next_call_of_an_ensemble(plan, answers, ready, judge, step):
    assert next_step(plan, answers, ready, judge) == step


@pytest.mark.parametrize(
    ("plan", "answers", "qualities", "verdict", "picked"),
    [
        pytest.param(TWO, (A,), (0,), None, (0, "small: the only answer"), id="the only one"),
        pytest.param(
            TWO, (A, B), (0.3, 0.5), None, (1, "large: of 2 answers this is by the best model (0.5)"), id="by quality"
        ),
        pytest.param(
            TWO, (A, B), (0.5, 0.5), None, (0, "small: of 2 answers this is by the best model (0.5)"),
            id="the first of equal quality",
        ),
        pytest.param(
            THREE, (B, A, C), (0.9, 0, 0), None, (1, "small: of 3 answers this is most like the others (0.55)"),
            id="by agreement",
        ),
        pytest.param(
            THREE, (A, B), (0.1, 0.2), None, (1, "large: of 2 answers this is most like the others (0.09)"),
            id="among equally alike ones the better model's",
        ),
        pytest.param(
            JUDGED, (A, B), (0.9, 0), 1, (1, "large: of 2 answers opus chose this"), id="by the judge"
        ),
        pytest.param(
            JUDGED, (B, A, C), (0, 0, 0), None,
            (1, "small: no verdict came; of 3 answers this is most like the others (0.55)"),
            id="by agreement when no verdict came",
        ),
    ],
)  # fmt: skip
def test_the_best_answer_is_picked(plan, answers, qualities, verdict, picked):
    assert pick(plan, answers, qualities, verdict) == picked


def test_quality_is_that_of_the_model_at_the_task():
    answers = (A, B, answer("haiku"), answer("gone"))
    assert rated(job(task="code"), CATALOG, answers) == (0.6, 0.5, 0.5, 0.0)
    assert rated(job(), CATALOG, answers) == (0.3, 0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("text", "other", "share"),
    [
        pytest.param("The sky is blue", "the SKY is blue.", 1.0, id="case and marks do not count"),
        pytest.param("the sky", "of grass", 0.0, id="nothing in common"),
        pytest.param("", "", 0.0, id="nothing is like nothing"),
        pytest.param("the sky", "sky the", 2 / 4, id="the order of the words counts"),
        pytest.param("空は青い", "空は赤い", 4 / 10, id="scripts without spaces are compared by character"),
        pytest.param(
            "x " * (MAX_COMPARED_CHARS // 2) + "one",
            "x " * (MAX_COMPARED_CHARS // 2) + "two",
            1.0,
            id="what is too long is not read",
        ),
    ],
)
def test_two_texts_agree_by_the_share_of_words_and_pairs_that_both_have(text, other, share):
    assert agreements([text, other]) == pytest.approx((share, share))


@settings(max_examples=100)
@given(st.text(max_size=60), st.text(max_size=60))
def test_agreement_is_mutual_and_a_share(text, other):
    assert agreements([text, other]) == agreements([other, text])
    assert 0 <= agreements([text, other])[0] <= 1


@pytest.mark.parametrize(
    ("verdict", "index"),
    [
        ("2", 1),
        (" **3** ", 2),
        ("Answer 1", 0),
        ("2. It names 3 reasons, answer 1 only two.", 1),
        ("The best is answer 3.", 2),
        ('{"best": 2}', 1),
        ("<think>1? no, 3?</think>2", 1),
        ("1 or 2", 0),
        ("Either 1 or 2", None),
        ("4", None),
        ("0", None),
        ("-1", None),
        ("2.5", None),
        ("1,000", None),
        ("gpt-3 wrote it", None),
        ("both are good", None),
        ("", None),
    ],
)
def test_a_verdict_is_one_number_of_those_shown(verdict, index):
    assert parse_verdict(verdict, 3) == index


def test_a_judge_of_a_response_keeps_its_verdict_short_and_unstored():
    body = judge_body("What is blue?", (A, A), "responses")
    assert "<question>\nWhat is blue?\n</question>" in body.pop("input")
    assert body == {"max_output_tokens": VERDICT_TOKENS, "store": False}


@pytest.mark.parametrize(
    ("dialect", "limit"),
    [
        ("openai", {"max_tokens": VERDICT_TOKENS}),
        ("anthropic", {"max_tokens": VERDICT_TOKENS}),
        ("ollama", {"options": {"num_predict": VERDICT_TOKENS}}),
    ],
)
def test_a_judge_is_shown_the_question_and_the_numbered_answers(dialect, limit):
    long = answer("large", "<think>hm</think>" + "a" * MAX_SHOWN_CHARS + "z" * MAX_SHOWN_CHARS)
    body = judge_body("What is blue?", (A, long), dialect)
    (message,) = body.pop("messages")
    assert body == limit
    assert message["role"] == "user"
    assert "<question>\nWhat is blue?\n</question>" in message["content"]
    assert '<answer number="1">\nthe sky is blue\n</answer>' in message["content"]
    assert (
        f'<answer number="2">\n{"a" * (MAX_SHOWN_CHARS // 2)}\n[{MAX_SHOWN_CHARS} characters left out]\n'
        in message["content"]
    )
    assert message["content"].endswith("alone, 1 to 2.")


def test_an_ensemble_goes_through_the_queue_once_for_each_answer():
    by, of, ended = catalog(ensemble=THREE), job(ALL, role="many"), NOW + 5
    first = conclude(of, by, answered("small"), A.completion, conditions("small"))
    assert first == Handoff("large", False)
    in_hand = conditions("large", answers=(A,))
    call = decide(of, by, answered("small"), in_hand, NOW)
    assert call == Call("large", 10)
    assert first.why == call.why == "for answer 2 of 3"
    failed = (*answered("small"), tried("large", E.OVERLOADED, ended_at=ended))
    replaced = conclude(of, by, failed, Failure(error_class=E.OVERLOADED), in_hand)
    assert replaced == Handoff("opus", False, kind=Fallback.OVERLOAD)
    attempts = (*failed, *answered("opus"))
    second = conclude(of, by, attempts, B.completion, conditions("opus", answers=(A,)))
    assert second == Handoff("haiku", False)
    kept = (A, Answer("opus", "box", B.completion))
    last = conclude(of, by, (*attempts, *answered("haiku")), C.completion, conditions("haiku", answers=kept))
    assert isinstance(last, Done)
    assert last.answer is not None
    assert last.answer.model == "haiku", "of the two that agree the one by the better model: no score is 0.5"
    assert last.outcome == C.completion


def test_an_ensemble_without_an_answer_goes_on_as_any_job():
    by, of = catalog(ensemble=TWO), job(LOCAL, role="many")
    assert decide(of, by, (), conditions(), NOW) == Call("small", 10)
    assert isinstance(conclude(of, by, (tried("small", E.AUTH),), Failure(error_class=E.AUTH), conditions()), Handoff)
    everywhere = (tried("small", E.AUTH), tried("large", E.AUTH))
    assert isinstance(conclude(of, by, everywhere, Failure(error_class=E.AUTH), conditions("large")), Fall)


@pytest.mark.parametrize(
    ("of", "when", "now"),
    [
        pytest.param(job(LOCAL, role="many"), {"large": blocked(NOW + 1)}, NOW, id="a model that is blocked"),
        pytest.param(job(("small",), role="many"), {}, NOW, id="a chain that is at its end"),
        pytest.param(job(LOCAL, role="many"), {}, NOW + 100, id="a deadline that has passed"),
        pytest.param(job(("small", "opus"), role="many", local_only=True), {}, NOW, id="a model that it may not call"),
    ],
)
def test_an_ensemble_with_an_answer_does_not_wait_for(of, when, now):
    step = conclude(of, CATALOG, answered("small", ended_at=now), A.completion, conditions(**when))
    assert step == Done(A.completion, answer=A)


def test_the_current_model_is_called_before_one_that_is_due_again():
    by, of = catalog(ensemble=TWO), job(("small", "large", "opus"), role="many", urgency=Urgency.INTERACTIVE)
    step = decide(of, by, answered("small"), conditions("opus", answers=(A,)), NOW)
    assert step == Call("opus", 10)


def test_a_bad_request_to_one_model_does_not_cost_the_answer_of_another():
    attempts = (*answered("small"), tried("large", E.BAD_REQUEST))
    step = decide(job(LOCAL, role="many"), CATALOG, attempts, conditions("large", answers=(A,)), NOW)
    assert step == Done(A.completion, answer=A)


def test_answers_of_a_role_that_is_no_ensemble_any_more_are_not_lost():
    step = decide(job(LOCAL, role="gone"), CATALOG, answered(*LOCAL), conditions("large", answers=(A, B)), NOW)
    assert step == Done(B.completion, answer=B)
    assert step.why == "large: of 2 answers this is by the best model (0.5)"


JUDGING = {"why": "judging 2 answers", "is_judging": True}
TO_JUDGE = job(LOCAL, role="many")
WITH_JUDGE = catalog(ensemble=JUDGED)


def test_a_judge_is_one_more_delivery_and_its_verdict_counts():
    handed = conclude(TO_JUDGE, WITH_JUDGE, answered(*LOCAL), B.completion, conditions("large", answers=(A,)))
    assert handed == Handoff("opus", False)
    in_hand = conditions("opus", answers=(A, B))
    call = decide(TO_JUDGE, WITH_JUDGE, answered(*LOCAL), in_hand, NOW)
    assert call == Call("opus", 10, is_judging=True)
    assert handed.why == call.why == JUDGING["why"]
    attempts = (*answered(*LOCAL), *answered("opus", **JUDGING))
    done = conclude(TO_JUDGE, WITH_JUDGE, attempts, completion("2"), in_hand)
    assert done == Done(B.completion, answer=B)
    assert done.why == "large: of 2 answers opus chose this"


def test_a_judge_that_has_just_answered_itself_is_handed_the_job_once_more():
    plan = catalog(ensemble=Ensemble(answers=2, pick=Pick.JUDGE, judge="large"))
    step = conclude(TO_JUDGE, plan, answered(*LOCAL), B.completion, conditions("large", answers=(A,)))
    assert step == Handoff("large", False)


def assert_picked_by_agreement(step):
    assert step == Done(B.completion, answer=B)
    assert step.why == "large: no verdict came; of 2 answers this is most like the others (0.09)"


def test_without_a_readable_verdict_the_pick_is_by_agreement():
    attempts = (*answered(*LOCAL), *answered("opus", **JUDGING))
    step = conclude(TO_JUDGE, WITH_JUDGE, attempts, completion("both!"), conditions("opus", answers=(A, B)))
    assert_picked_by_agreement(step)


def test_a_judge_that_fails_is_not_called_again():
    attempts = (*answered(*LOCAL), tried("opus", **JUDGING))
    failure = Failure(error_class=E.TIMEOUT)
    assert_picked_by_agreement(conclude(TO_JUDGE, WITH_JUDGE, attempts, failure, conditions("opus", answers=(A, B))))


@pytest.mark.parametrize(
    ("of", "when", "now"),
    [
        pytest.param(TO_JUDGE, {"opus": blocked(NOW + 1)}, NOW, id="when it is blocked"),
        pytest.param(job(LOCAL, role="many", local_only=True), {}, NOW, id="when it may not see the job"),
        pytest.param(TO_JUDGE, {}, NOW + 100, id="past the deadline"),
    ],
)
def test_a_judge_is_not_called(of, when, now):
    attempts = answered(*LOCAL, ended_at=now)
    assert_picked_by_agreement(
        conclude(of, WITH_JUDGE, attempts, B.completion, conditions("large", answers=(A,), **when))
    )


def test_a_judge_that_answered_as_one_of_the_chain_judges_all_the_same_and_its_verdict_is_no_answer():
    plan = catalog(ensemble=Ensemble(answers=2, pick=Pick.JUDGE, judge="small"))
    attempts = (*answered(*LOCAL), tried("small", **JUDGING))
    assert_picked_by_agreement(decide(TO_JUDGE, plan, attempts, conditions("small", answers=(A, B)), NOW))
