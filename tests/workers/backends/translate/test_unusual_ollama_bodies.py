"""Nearly valid bodies, answers and lines of Ollama: each is parsed or refused, and nothing else is raised."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends import anthropic_answer as anthropic_answer
from openfall.workers.backends import ollama_answer as ollama_answer
from openfall.workers.backends import openai_answer as openai_answer
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import TRANSLATORS, translate_request, translate_response
from tests.workers.backends.corruption import assert_translated_or_refused, corruptions
from tests.workers.backends.translate.test_ollama_translation import ANSWER, OLLAMA_BODY, REQUEST_BODY
from tests.workers.backends.translate.test_unusual_bodies import ANTHROPIC, COMPLETION, MESSAGE, RESPONSES

PAIRS = [pair for pair in TRANSLATORS if "ollama" in pair]
WITHOUT_FORCE = {"tools": ANTHROPIC["tools"], "tool_choice": {"type": "auto"}, "top_k": 3}
BODIES: dict[Dialect, dict[str, Any]] = {
    "openai": REQUEST_BODY,
    "anthropic": ANTHROPIC
    | WITHOUT_FORCE
    | {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}],
            },
            *ANTHROPIC["messages"][1:],
        ]
    },
    "ollama": {
        name: value for name, value in OLLAMA_BODY.items() if name != "logprobs"
    }  # of which Anthropic knows nothing
    | {"think": False, "options": OLLAMA_BODY["options"] | {"top_k": 3, "stop": ["END"]}},
    "responses": RESPONSES,
}
READ: dict[Dialect, tuple[dict[str, Any], Any]] = {
    "openai": (COMPLETION, openai_answer.to_outcome),
    "anthropic": (MESSAGE, anthropic_answer.to_outcome),
    "ollama": (ANSWER, ollama_answer.to_outcome),
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_any_body_is_translated_or_refused_with_a_reason(ours: Dialect, theirs: Dialect) -> None:
    assert_translated_or_refused(TRANSLATORS[ours, theirs].request, BODIES[ours])


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_an_answer_is_translated_or_malformed(ours: Dialect, theirs: Dialect) -> None:
    good, read = READ[theirs]
    request = Request(body={}, upstream="m", timeout=1, dialect=ours)
    assert isinstance(translate_response(read(good), request, theirs), Completion)
    for body in corruptions(good):
        result = translate_response(read(body), request, theirs)
        assert isinstance(result, Failure) or result.finish_reason


def test_any_line_of_a_stream_can_be_added() -> None:
    lines = [ANSWER | {"done": False, "logprobs": [{"token": "A"}]}, ANSWER]
    for corrupted in corruptions(lines):
        stream = ollama_answer.ChatAssembler()
        for line in corrupted if isinstance(corrupted, list) else [corrupted]:
            if not stream.ended:
                assert isinstance(stream.add(b"1" if _huge(line) else orjson.dumps(line)), list)
        assert isinstance(stream.outcome(), Completion | Failure)


def _huge(value: Any) -> bool:
    """Whether JSON could not carry it: no server can have written it."""
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_body_that_is_not_of_its_dialect_is_the_callers_fault(dialect: Dialect) -> None:
    outcome = translate_request(Request(body={"messages": 3}, upstream="m", timeout=1, dialect=dialect), "ollama")
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.BAD_REQUEST
