"""The answers of each dialect: how they are read, and by what they are recognized. Pure.

Some gateways that imitate one protocol pass on the answer of another one unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.outcome import Outcome
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.anthropic_answer import MessageAssembler, parse_message
from openfall.workers.backends.completion_shapes import unwrapped
from openfall.workers.backends.exact_json import loads
from openfall.workers.backends.ollama_answer import ChatAssembler, parse_chat
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from openfall.workers.backends.response_answer import ResponseAssembler, parse_response
from openfall.workers.backends.stream_assembly import StreamAssembler
from openfall.workers.backends.translate import TRANSLATORS

_MESSAGE_TYPES = ("message", "message_start", "content_block_start", "content_block_delta")


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How a dialect's answers are read. `parse` returns the outcome of a 2xx's whole body, `assembler` assembles the
    events of a stream."""

    dialect: Dialect
    assembler: Callable[[], StreamAssembler]
    parse: Callable[[bytes, Mapping[str, str]], Outcome]


FORMATS: Mapping[Dialect, AnswerFormat] = {
    "openai": AnswerFormat("openai", CompletionAssembler, parse_completion),
    "anthropic": AnswerFormat("anthropic", MessageAssembler, parse_message),
    "ollama": AnswerFormat("ollama", ChatAssembler, parse_chat),
    "responses": AnswerFormat("responses", ResponseAssembler, parse_response),
}


def recognize(data: bytes) -> Dialect | None:
    """The dialect of a whole answer, or of an event of a stream; None: it shows none."""
    try:
        document = loads(data)
    except ValueError:
        return None
    return _dialect_of(document[0] if isinstance(document, list) and document else document)


def _dialect_of(document: Any) -> Dialect | None:
    if not isinstance(document, dict):
        return None
    kind = document.get("type")
    if "choices" in unwrapped(document):
        return "openai"
    if kind in _MESSAGE_TYPES:
        return "anthropic"
    if document.get("object") == "response" or str(kind).startswith("response."):
        return "responses"
    return "ollama" if "done" in document and ("message" in document or "response" in document) else None


def format_instead(own: Dialect, dialect: Dialect | None) -> AnswerFormat | None:
    """The format of an answer that is of another dialect than its endpoint, and that can be translated; None: it is no
    such answer. `dialect`: that of the answer, if it shows one."""
    return None if dialect is None or (own, dialect) not in TRANSLATORS else FORMATS[dialect]
