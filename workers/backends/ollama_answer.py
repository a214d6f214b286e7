"""Parses an Ollama answer, whole or assembled from the lines of a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, ToolArguments, ToolStart
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.exact_json import dumps
from openfall.workers.backends.finish_reasons import read_finish_reason
from openfall.workers.backends.grown_list import grow_list
from openfall.workers.backends.ollama_generate import as_chat
from openfall.workers.backends.parsing import append_text, content_text, malformed, parse_document, token_count
from openfall.workers.backends.stream_assembly import StreamAssembler
from openfall.workers.backends.translate.json_values import json_object
from openfall.workers.backends.usage import usage_piece


def parse_chat(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    if isinstance(document, Failure):
        return _as_server_error(document)
    if not isinstance(document, dict):
        return to_outcome(document)
    if isinstance(document.get("message"), dict):
        document = {"done": True} | document  # a whole message is done, unless its server says that it is not
    return to_outcome(as_chat(document))


def to_outcome(document: Any) -> Outcome:
    """The outcome of the last line with the whole message. It is complete only with `done`.

    The server omits a count that is 0, and for some models the reason for the end.
    """
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        return malformed("the answer has no message")
    if document.get("done") is not True:
        return malformed("the answer is not done: it was cut off")
    reason = read_finish_reason(document.get("done_reason") or "stop")
    if isinstance(reason, Failure):
        return reason
    message = _with_text(message)
    document = document | {"done_reason": reason, "message": message}
    return Completion(
        text=message.get("content") or "",
        finish_reason=reason,
        usage=_read_usage(document),
        body=document,
    )


class ChatAssembler(StreamAssembler):
    """Assembles lines into the last line of a chat, with the whole message."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self._calls = 0

    def add(self, event: bytes) -> list[Piece]:
        pieces = super().add(event)
        self.failure = self.failure and _as_server_error(self.failure)
        return pieces

    def _add(self, fields: dict[str, Any]) -> list[Piece]:
        fields = as_chat(fields)
        self._last, self.done = fields, fields.get("done") is True
        if isinstance(fields.get("logprobs"), list):
            self._logprobs = grow_list(self._logprobs, fields["logprobs"])
        message = fields.get("message")
        usage = [usage_piece(_read_usage(fields))] if self.done else []
        if not isinstance(message, dict):
            return [*usage]
        message = _with_text(message)
        fields = fields | {"message": message}
        self.characters += _count_characters(message)
        _merge(self._message, message)
        pieces = [self._renumber(piece) for piece in pieces_of_answer(fields, "ollama")]
        self._calls += sum(isinstance(piece, ToolStart) for piece in pieces)
        if pieces and isinstance(pieces[0], RawEvent):
            pieces[0] = replace(pieces[0], event=fields, covers=len(pieces) - 1)
        return [*pieces, *usage]

    def _renumber(self, piece: Piece) -> Piece:
        """A piece of a line, with its number among all tool calls of the answer."""
        return replace(piece, call=piece.call + self._calls) if isinstance(piece, ToolStart | ToolArguments) else piece

    def _assemble(self) -> Outcome:
        whole = self._last | ({"logprobs": self._logprobs} if self._logprobs else {})
        return to_outcome(self._mended(whole | {"message": self._message}))


def _with_text(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its content as a text, which some servers send as parts, and the arguments of its calls as
    objects."""
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(calls, list) and calls:
        message = message | {"tool_calls": [_with_object(call) for call in calls]}
    return message if content is None or isinstance(content, str) else message | {"content": content_text(content)}


def _with_object(call: Any) -> Any:
    """A tool call whose arguments are an object, which some servers send as its text, or as null."""
    function = call.get("function") if isinstance(call, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(function, dict) or isinstance(arguments, dict):
        return call
    value = json_object(arguments) if isinstance(arguments, str) and arguments.strip() else {}
    if value is None:
        return call
    return {**call, "function": {**function, "arguments": value}}


def _read_usage(line: dict[str, Any]) -> Usage:
    """The usage in the last line. The server omits a count that is 0."""
    counts = {"prompt_eval_count": 0, "eval_count": 0, **line}
    return Usage(input_tokens=token_count(counts, "prompt_eval_count"), output_tokens=token_count(counts, "eval_count"))


def _as_server_error(failure: Failure) -> Failure:
    """An error within a 200 is the server's own: Ollama would send a 500 if the response had not begun."""
    if failure.error_class is not ErrorClass.OTHER:
        return failure
    return replace(failure, error_class=ErrorClass.OVERLOADED)


def _count_characters(message: dict[str, Any]) -> int:
    """The generated characters of a line: not its role. A tool call arrives whole."""
    calls = message.get("tool_calls")
    texts = sum(len(value) for key, value in message.items() if isinstance(value, str) and key != "role")
    return texts + (len(dumps(calls)) if isinstance(calls, list) and calls else 0)


def _merge(message: dict[str, Any], piece: dict[str, Any]) -> None:
    """Append texts (content, thinking), add calls, replace anything else. A text that has arrived stays."""
    for key, value in piece.items():
        if isinstance(value, str) and key != "role":
            message[key] = append_text(message.get(key), value)
        elif isinstance(value, list):
            message[key] = grow_list(message.get(key), value)
        elif value is not None and (key == "role" or not isinstance(message.get(key), str)):
            message[key] = value
