"""What the parsers of all dialects share: whole documents, malformed answers, texts and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.json_bounds import JsonTooLarge
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_body import find_error
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.exact_json import loads_answer, whole_number

TEXT_PARTS = ("text", "output_text", "input_text")
"""The types of a part that is a written text."""


def malformed(detail: str) -> Failure:
    """The failure of an upstream that responded with something other than an answer."""
    return Failure(error_class=ErrorClass.MALFORMED, detail=detail)


def parse_document(body: bytes, headers: Mapping[str, str]) -> Any | Failure:
    """The JSON of a 200's body. An error inside it is a failure."""
    try:
        document = loads_answer(body)
    except JsonTooLarge as error:
        return malformed(f"the answer {error}")
    except ValueError:
        failure = classify(200, headers, body)
        return failure if failure.error_class is ErrorClass.FORBIDDEN else malformed("the answer is not JSON")
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return classify(200, headers, body) if find_error(document) else document


def content_text(content: Any) -> str:
    """The text of a content: a string, a part, or a list of them. Parts without text (images, reasoning) have none."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) and content.get("type", "text") in TEXT_PARTS else ""
    return "".join(map(content_text, content)) if isinstance(content, list) else ""


def append_text(text: Any, piece: str) -> str:
    """A text with its next piece. A value that is not a text is replaced."""
    return text + piece if isinstance(text, str) else piece


MAX_CALL_TOKENS = 10**9
"""A call has fewer: a larger number would fill every budget that counts the call."""


def token_count(usage: Any, name: str) -> int | None:
    """The number of tokens under that name; None if there is none. A number that no call can have is none."""
    count = whole_number(usage.get(name)) if isinstance(usage, dict) else None
    return count if count is None or count <= MAX_CALL_TOKENS else None


def with_usage(outcome: Outcome, usage: Usage) -> Outcome:
    """The outcome with what its provider counted: a refusal and a filtered answer are paid for, too. A text has tokens:
    where a server counts none for it, their number is unknown."""
    if outcome.usage is not NO_USAGE or usage == NO_USAGE:
        return outcome
    if isinstance(outcome, Completion) and outcome.text and usage.output_tokens == 0:
        usage = replace(usage, output_tokens=None)
    return replace(outcome, usage=usage)
