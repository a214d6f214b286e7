"""Names that the caller chose, of tools and of the properties of their schemas, do not decide what an error means."""

from __future__ import annotations

import json

import pytest

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.vocabulary import CallSignal, CredentialSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import classify

NAMES = (
    "get_insufficient_balance", "check_rate_limit_exceeded", "throttle_valve", "get_context_length", "invalid_api_key",
    "content_filter_flagged", "model not found", "out of memory",
)  # fmt: skip
REFUSALS = (
    "Invalid schema for function '{name}': None is not of type 'object'.",
    "Invalid schema for function 'look': In context=('properties', '{name}'), 'required' is needed.",
    "Tool choice `{name}` is unknown.",
    'The tool "{name}" has no schema.',
    "tools.0.custom.input_schema.properties.{name}.type: wrong type",
    "Tools 'walk', 'look' and '{name}' have one name.",
)


def _refused(words: str, status: int = 400) -> E:
    body = {"error": {"message": words, "type": "invalid_request_error"}}
    return classify(status, {}, json.dumps(body).encode()).error_class


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", REFUSALS)
def test_the_name_of_a_tool_or_a_property_is_no_word_of_the_provider(words: str, name: str) -> None:
    plain = "_".join(name.split())
    refused = _refused(words.format(name=plain if "properties" in words else name))
    assert refused is _refused(words.format(name="look"))
    assert DISPOSITIONS[refused].breaker is CallSignal.NEUTRAL
    assert DISPOSITIONS[refused].credential is CredentialSignal.FINE


@pytest.mark.parametrize(
    "words",
    [
        "Tool {name} not found", "Unknown function {name}.", "Duplicate function declaration found: {name}",
        "tool names must be unique: {name}", "The function named {name} has no schema",
    ],
)  # fmt: skip
def test_the_name_of_a_tool_without_quotes_is_none_either(words: str) -> None:
    for name in NAMES[:6]:
        assert _refused(words.format(name=name)) is _refused(words.format(name="look_up"))


def test_the_detail_has_the_name() -> None:
    words = REFUSALS[0].format(name=NAMES[0])
    assert NAMES[0] in classify(400, {}, json.dumps({"error": {"message": words}}).encode()).detail


@pytest.mark.parametrize(
    ("status", "words", "means"),
    [
        (404, "Function 'abc': Not found for account 'xyz'", E.NOT_INSTALLED),
        (400, "This model does not support tool choice 'required'", E.UNSUPPORTED),
        (400, "Tool use isn't supported by this model; it doesn't have a template.", E.UNSUPPORTED),
        (400, "The function you've called can't run: you don't have enough credits", E.OUT_OF_CREDITS),
        (400, "Tool calling failed: insufficient balance", E.OUT_OF_CREDITS),
        (400, 'The function "look" and the prompt exceed the context length of the model', E.CONTEXT_OVERFLOW),
    ],
)
def test_the_providers_own_words_beside_a_name_decide(status: int, words: str, means: E) -> None:
    assert _refused(words, status) is means
