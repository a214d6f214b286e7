"""An Ollama answer, whole or put together from the lines of a stream, read as an outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import (
    Completion,
    Failure,
    Outcome,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)
from openfall.workers.backends.parsing import (
    append_text,
    malformed,
    parse_document,
    parse_event,
    token_count,
)


def parse_chat(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure.

    Lines are read too: a proxy may have taken from a stream the content type that it is known by.
    """
    document = parse_document(body, headers)
    if not isinstance(document, Failure):
        return to_outcome(document)
    lines = body.split(b"\n") if document.error_class is ErrorClass.MALFORMED else ()
    return _read_lines(lines) if len(lines) > 1 else _server_side(document)


def to_outcome(document: Any) -> Outcome:
    """The outcome of the answer's last line with the whole message in it: complete only when it says `done` and why.

    A count that is 0 is left out by the server.
    """
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        return malformed("the answer has no message")
    reason = document.get("done_reason")
    if document.get("done") is not True or not isinstance(reason, str) or not reason:
        return malformed("the answer does not say why it ended: it was cut off")
    text = message.get("content")
    return Completion(
        text=text if isinstance(text, str) else "",
        finish_reason=reason,
        input_tokens=token_count({"prompt_eval_count": 0, **document}, "prompt_eval_count"),
        output_tokens=token_count({"eval_count": 0, **document}, "eval_count"),
        body=document,
    )


def _read_lines(lines: Iterable[bytes]) -> Outcome:
    answer = ChatAssembler()
    for line in filter(None, map(bytes.strip, lines)):
        if not answer.ended:
            answer.add(line)
    return answer.outcome()


class ChatAssembler:
    """The lines of a stream, put together to the answer that the same call without a stream would give."""

    def __init__(self) -> None:
        self._failure: Failure | None = None
        self._last: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        self._logprobs: list[Any] = []

    @property
    def ended(self) -> bool:
        """Nothing that may still arrive matters."""
        return self._failure is not None or self._last.get("done") is True

    def add(self, event: bytes) -> str:
        """Take one line; the text that it adds."""
        line = parse_event(event)
        if isinstance(line, Failure):
            self._failure = _server_side(line)
            return ""
        self._last = line
        if isinstance(line.get("logprobs"), list):
            self._logprobs += line["logprobs"]
        message = line.get("message")
        if not isinstance(message, dict):
            return ""
        _grow(self._message, message)
        text = message.get("content")
        return text if isinstance(text, str) else ""

    def outcome(self) -> Outcome:
        """What the stream came to, once it has ended in whatever way."""
        if self._failure:
            return self._failure
        whole = self._last | ({"logprobs": self._logprobs} if self._logprobs else {})
        return to_outcome(whole | {"message": self._message})


def _server_side(failure: Failure) -> Failure:
    """What Ollama says within a 200 it would have said with a 500, had it not begun: its own trouble."""
    if failure.error_class is not ErrorClass.OTHER:
        return failure
    return replace(failure, error_class=ErrorClass.OVERLOADED)


def _grow(message: dict[str, Any], told: dict[str, Any]) -> None:
    """Texts grow (content, thinking), calls are added, anything else is replaced."""
    for key, value in told.items():
        if isinstance(value, str) and key != "role":
            message[key] = append_text(message.get(key), value)
        elif isinstance(value, list):
            before = message.get(key)
            message[key] = [*(before if isinstance(before, list) else ()), *value]
        elif value is not None:
            message[key] = value
