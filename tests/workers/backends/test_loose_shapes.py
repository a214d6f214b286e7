"""Answers whose servers imitate a protocol loosely: what can be read of them for certain is read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.workers.backends.anthropic_answer import parse_message
from openfall.workers.backends.openai_answer import parse_completion, to_outcome


def answered(outcome: Outcome) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


def completion(message: dict[str, Any], finish: Any = "stop") -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "content",
    [
        "Hi", ["Hi"], {"type": "text", "text": "Hi"}, [{"text": "Hi"}], [{"type": "output_text", "text": "Hi"}],
        [{"type": "text", "text": "H"}, "i"],
    ],
)  # fmt: skip
def test_the_content_of_a_message_is_read_in_any_form(content: Any) -> None:
    answer = answered(parse_message(orjson.dumps({"content": content, "stop_reason": "end_turn"}), {}))
    assert answer.text == "Hi"
    assert all(block["type"] == "text" for block in answer.body["content"])


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_an_answer_with_any_content_and_no_finish_reason_is_whole(field: str) -> None:
    outcome = to_outcome(completion({"role": "assistant", "content": None, field: "Hm"}, None))
    assert outcome.refusal is not None if isinstance(outcome, Failure) else outcome.finish_reason == "stop"


@pytest.mark.parametrize("error", [{"code": 200, "message": "success"}, {"code": "0", "message": ""}, {"code": 0}, {}])
def test_an_error_that_says_that_there_is_none_is_none(error: Any) -> None:
    body = completion({"role": "assistant", "content": "Hi"}) | {"error": error}
    assert answered(parse_completion(orjson.dumps(body), {})).text == "Hi"


@pytest.mark.parametrize("error", [{"code": 0, "message": "Provider failed"}, {"message": "success"}, "success"])
def test_an_error_with_other_words_is_one(error: Any) -> None:
    body = completion({"role": "assistant", "content": "Hi"}) | {"error": error}
    assert isinstance(parse_completion(orjson.dumps(body), {}), Failure)
