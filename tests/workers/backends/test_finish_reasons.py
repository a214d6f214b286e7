"""A finish reason is read in any spelling. One outside the known ones is no success, and one of a request no fault."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import CallSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.anthropic_answer import parse_message
from openfall.workers.backends.finish_reasons import failure_of_native, read_finish_reason
from openfall.workers.backends.openai_answer import parse_completion


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("STOP", "stop"),
        ("FINISH_REASON_STOP", "stop"),
        ("endTurn", "stop"),
        ("stopSequence", "stop"),
        ("COMPLETE", "stop"),
        ({"type": "stop", "matched": 2}, "stop"),
        ("maxTokens", "length"),
        ("MAX_TOKENS", "length"),
        ("tool-calls", "tool_calls"),
        ("toolUse", "tool_calls"),
        ("normal", "stop"),
        ("FINISH", "stop"),
        ("endoftext", "stop"),
        ("end_of_text", "stop"),
        ("eosFound", "stop"),
        ("stopStringFound", "stop"),
        ("word", "stop"),
        ("limit", "length"),
        ("maxPredictedTokensReached", "length"),
        ("maximum_tokens", "length"),
        ("max_new_tokens", "length"),
    ],
)
def test_a_success_is_known_in_any_spelling(reason: Any, meant: str) -> None:
    assert read_finish_reason(reason) == meant


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("content-filter", E.CONTENT_FILTER),
        ("contentFilter", E.CONTENT_FILTER),
        ("repetition_truncation", E.INVALID_OUTPUT),
        ("content_filter: SAFETY", E.CONTENT_FILTER),
        ("LANGUAGE", E.CONTENT_FILTER),
        ("IMAGE_PROHIBITED_CONTENT", E.CONTENT_FILTER),
        ("MODEL_ARMOR", E.CONTENT_FILTER),
        ("ERROR_TOXIC", E.CONTENT_FILTER),
        ("blacklist", E.CONTENT_FILTER),
        ("contextLengthReached", E.CONTEXT_OVERFLOW),
        ("ERROR_LIMIT", E.CONTEXT_OVERFLOW),
        ("MISSING_THOUGHT_SIGNATURE", E.INVALID_OUTPUT),
        ("malformed_tool_use", E.INVALID_OUTPUT),
        ("NO_IMAGE", E.INVALID_OUTPUT),
        ("context", E.CONTEXT_OVERFLOW),
    ],
)
def test_a_reason_that_depends_on_the_request_is_charged_to_no_model(reason: str, meant: E) -> None:
    failure = read_finish_reason(reason)
    assert isinstance(failure, Failure)
    assert failure.error_class is meant
    assert DISPOSITIONS[meant].breaker is CallSignal.NEUTRAL


@pytest.mark.parametrize("reason", ["abort", "cancelled", "timeout", "time_limit", "not_finished", "network_error"])
def test_a_server_that_stops_for_a_cause_of_its_own_has_failed(reason: str) -> None:
    failure = read_finish_reason(reason)
    assert isinstance(failure, Failure)
    assert failure.error_class is E.OVERLOADED


@pytest.mark.parametrize("reason", ["OTHER", "unload", "FINISH_REASON_UNSPECIFIED", 7, ["stop"]])
def test_an_unknown_reason_is_no_success(reason: Any) -> None:
    failure = read_finish_reason(reason)
    assert isinstance(failure, Failure)
    assert failure.error_class is E.MALFORMED


@pytest.mark.parametrize(
    ("native", "meant"),
    [
        ("error", E.OVERLOADED),
        ("network_error", E.OVERLOADED),
        ("MALFORMED_FUNCTION_CALL", E.INVALID_OUTPUT),
        ("SAFETY", E.CONTENT_FILTER),
        ("refusal", E.CONTENT_FILTER),
    ],
)
def test_the_own_word_of_a_provider_tells_its_failure_behind_a_stop(native: str, meant: E) -> None:
    failure = failure_of_native(native)
    assert failure is not None
    assert failure.error_class == meant
    choice = {"message": {"content": "half"}, "finish_reason": "stop", "native_finish_reason": native}
    outcome = parse_completion(orjson.dumps({"choices": [choice]}), {})
    assert isinstance(outcome, Failure)
    assert outcome.error_class == meant


@pytest.mark.parametrize("native", [None, "", "completed", "STOP", "end_turn", "FINISH_REASON_UNSPECIFIED", 1, "eos!"])
def test_another_word_of_a_provider_behind_a_stop_says_nothing(native: Any) -> None:
    assert failure_of_native(native) is None


def test_calls_of_tools_end_in_calls_of_tools() -> None:
    call = {"id": "c", "function": {"name": "look", "arguments": "{}"}}
    choice = {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "stop"}
    block = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    chat = parse_completion(orjson.dumps({"choices": [choice]}), {})
    message = parse_message(orjson.dumps({"content": [block], "stop_reason": "end_turn"}), {})
    assert isinstance(chat, Completion)
    assert isinstance(message, Completion)
    assert (chat.finish_reason, message.finish_reason) == ("tool_calls", "tool_use")
