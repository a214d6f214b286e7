"""A finish reason is read in any spelling. One outside the known ones is no success, and one of a request no fault."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import CallSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.finish_reasons import read_finish_reason


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
    ],
)
def test_a_reason_that_depends_on_the_request_is_charged_to_no_model(reason: str, meant: E) -> None:
    failure = read_finish_reason(reason)
    assert isinstance(failure, Failure)
    assert failure.error_class is meant
    assert DISPOSITIONS[meant].breaker is CallSignal.NEUTRAL


@pytest.mark.parametrize("reason", ["OTHER", "abort", "cancelled", "unload", "FINISH_REASON_UNSPECIFIED", 7, ["stop"]])
def test_an_unknown_reason_is_no_success(reason: Any) -> None:
    failure = read_finish_reason(reason)
    assert isinstance(failure, Failure)
    assert failure.error_class is E.MALFORMED
