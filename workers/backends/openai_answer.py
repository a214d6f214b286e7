"""Parses an OpenAI answer, whole or assembled from a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_mapping import classify, find_error
from openfall.workers.backends.parsing import StreamAssembler, append_text, malformed, parse_document, token_count

_DONE = b"[DONE]"
_MERGED = frozenset({"index", "message", "delta", "logprobs"})


def parse_completion(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(document)


def to_outcome(document: Any) -> Outcome:
    """The outcome of a `chat.completion`. It is complete only with a message and a finish reason."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return malformed("the answer has no choices")
    finish = choice.get("finish_reason")
    if error := find_error(choice) or finish == "error":
        body = {"error": error if isinstance(error, dict) else "the answer ended in an error"}
        return classify(200, {}, orjson.dumps(body))
    if not isinstance(finish, str) or not finish:
        return malformed("the answer has no finish reason: it was cut off")
    if finish == "content_filter":
        return Failure(error_class=ErrorClass.CONTENT_FILTER, detail="the provider's filter stopped the answer")
    text, usage = message.get("content"), document.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return Completion(
        text=text if isinstance(text, str) else "",
        finish_reason=finish,
        input_tokens=token_count(usage, "prompt_tokens"),
        output_tokens=token_count(usage, "completion_tokens"),
        cache_read_tokens=token_count(details, "cached_tokens"),
        cache_write_tokens=token_count(details, "cache_write_tokens"),
        body=document,
    )


class CompletionAssembler(StreamAssembler):
    """Assembles chunks into a `chat.completion`."""

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, event: bytes) -> str:
        if event.strip() == _DONE:
            self.done = True
            return ""
        return super().add(event)

    def _add(self, fields: dict[str, Any]) -> str:
        self._head |= {key: value for key, value in fields.items() if key != "choices" and value is not None}
        choices = fields.get("choices")
        pieces = choices if isinstance(choices, list) else []
        return "".join([self._add_choice(choice) for choice in pieces if isinstance(choice, dict)])

    def _assemble(self) -> Outcome:
        choices = [self._choices[index] for index in sorted(self._choices)]
        return to_outcome({**self._head, "object": "chat.completion", "choices": choices})

    def _add_choice(self, piece: dict[str, Any]) -> str:
        index = piece.get("index", 0) if isinstance(piece.get("index", 0), int) else 0
        empty = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        choice = self._choices.setdefault(index, empty)
        choice |= {key: value for key, value in piece.items() if key not in _MERGED and value is not None}
        _merge_logprobs(choice, piece.get("logprobs"))
        delta = piece.get("delta")
        if not isinstance(delta, dict):
            return ""
        _merge(choice["message"], delta)
        text = delta.get("content")
        return text if isinstance(text, str) and index == 0 else ""


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Append texts (content, reasoning, refusal), merge tool calls, replace anything else."""
    for key, value in delta.items():
        if key == "tool_calls":
            _merge_calls(message.setdefault("tool_calls", []), value if isinstance(value, list) else [])
        elif isinstance(value, str) and key != "role":
            message[key] = append_text(message.get(key), value)
        elif value is not None:
            message[key] = value


def _merge_calls(calls: list[dict[str, Any]], pieces: list[Any]) -> None:
    """Append arguments by index. A piece without an index starts a call if it has an id, else it extends the last."""
    for piece in filter(lambda piece: isinstance(piece, dict), pieces):
        index = piece.get("index")
        if not isinstance(index, int) or index < 0:
            index = len(calls) if piece.get("id") or not calls else len(calls) - 1
        if index >= len(calls):
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[min(index, len(calls) - 1)], piece.get("function")
        call |= {key: value for key, value in piece.items() if key not in ("index", "function") and value}
        if isinstance(function, dict):
            arguments = call["function"]["arguments"] + _arguments(function.get("arguments"))
            call["function"] |= {key: value for key, value in function.items() if value} | {"arguments": arguments}


def _arguments(value: Any) -> str:
    """The text of the arguments. Some servers send the object itself."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if isinstance(value, dict) else ""


def _merge_logprobs(choice: dict[str, Any], logprobs: Any) -> None:
    if not isinstance(logprobs, dict):
        return
    merged = choice.setdefault("logprobs", {})
    for key, value in logprobs.items():
        if isinstance(value, list):
            merged[key] = [*(merged.get(key) or []), *value]
