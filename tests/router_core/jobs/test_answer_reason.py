"""Why a result is as it is, in a few words."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.answer_reason import describe_reply, why_this_model
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import ErrorClass, Remedy

CONSIDERED = (
    ConsideredModel(model="smol", reason="1st in role chat, loaded"),
    ConsideredModel(model="large", reason="2nd in role chat"),
)
LEFT_OUT = (ConsideredModel(model="tiny", reason="left out: too small", chosen=False), *CONSIDERED)


def attempt(model: str = "smol", error: ErrorClass | None = None, why: str = "") -> Attempt:
    return Attempt(model=model, backend="box", started_at=1, ended_at=2, error=error, why=why)


def answered(*attempts: Attempt, **more: object) -> Result:
    terms = {"reason": "role chat: smol first of 2", "considered": CONSIDERED, **more}
    return Result(id="job-00001", status=Status.ANSWERED, attempts=attempts, **terms)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        pytest.param(answered(attempt()), "1st in role chat, loaded", id="its own rank"),
        pytest.param(answered(attempt(), considered=()), "role chat: smol first of 2", id="the only candidate"),
        pytest.param(
            answered(attempt(), considered=LEFT_OUT), "role chat: smol first of 2", id="another was passed over"
        ),
        pytest.param(
            answered(attempt(), picked="smol@box", picked_why="the judge chose it"), "the judge chose it", id="picked"
        ),
        pytest.param(
            answered(attempt(error=ErrorClass.TIMEOUT), attempt("large")),
            "smol failed: timeout; the next in its chain answered",
            id="the first failed",
        ),
        pytest.param(
            answered(attempt("large", why="fallback (unavailable): smol is away"), first_choice="smol"),
            "fallback (unavailable): smol is away; role chat: smol first of 2",
            id="the first was not called",
        ),
        pytest.param(
            answered(
                attempt("large", why="2nd in the chain; smol: its key is parked"),
                first_choice="smol",
                reason="role chat: large first of 2; smol moved back: its key is parked",
            ),
            "2nd in the chain; smol: its key is parked; role chat: large first of 2",
            id="passed over twice for the same",
        ),
        pytest.param(
            Result(id="job-00001", status=Status.DEGRADED, degraded_by=Remedy.CANNED_REPLY),
            "degraded: canned reply",
            id="degraded",
        ),
    ],
)
def test_the_reason_for_a_model_is_its_rank_or_what_happened_to_the_one_before_it(result: Result, why: str) -> None:
    assert why_this_model(result) == why


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (Remedy.DEFAULT_FALLBACK, "default fallback smol"),
        (Remedy.LAST_ANSWER, "the last answer to the same request"),
        (Remedy.CANNED_REPLY, "canned reply"),
        (None, "no reply"),
    ],
)
def test_a_degraded_reply_is_described_by_its_remedy(remedy: Remedy | None, words: str) -> None:
    assert (
        describe_reply(Result(id="job-00001", status=Status.DEGRADED, attempts=(attempt(),), degraded_by=remedy))
        == words
    )
