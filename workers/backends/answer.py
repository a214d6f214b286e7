"""An OpenAI answer, whole or put together from a stream, read as an outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from router_core.outcome import Completion, ErrorClass, Failure, Outcome
from workers.backends.signals import classify, error_of

_DONE = b"[DONE]"


def malformed(detail: str) -> Failure:
    """The upstream said something, and it was no answer."""
    return Failure(error_class=ErrorClass.MALFORMED, detail=detail)


def read_answer(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return malformed("the answer is no JSON")
    if error_of(document):
        return classify(200, headers, body)
    return outcome_of(document)


def outcome_of(document: Any) -> Outcome:
    """The outcome of a `chat.completion`: complete only with a message and a finish reason."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return malformed("the answer has no choices")
    finish = choice.get("finish_reason")
    if error := error_of(choice) or finish == "error":
        told = {"error": error if isinstance(error, dict) else "the answer ended in an error"}
        return classify(200, {}, orjson.dumps(told))
    if not isinstance(finish, str) or not finish:
        return malformed("the answer has no finish reason: it was cut off")
    if finish == "content_filter":
        return Failure(error_class=ErrorClass.CONTENT_FILTER, detail="the provider's filter stopped the answer")
    text, usage = message.get("content"), document.get("usage")
    return Completion(
        text=text if isinstance(text, str) else "",
        finish_reason=finish,
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        body=document,
    )


def _count(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else None


class Events:
    """Server-sent events out of the bytes of a stream: the data of each, in order."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that this chunk completes. An event ends with an empty line."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._take(line.rstrip(b"\r"))

    def end(self) -> Iterator[bytes]:
        """The last event of a stream whose server forgot the empty line after it."""
        yield from self.feed(b"\n\n")

    def _take(self, line: bytes) -> Iterator[bytes]:
        if not line and self._data:
            yield b"\n".join(self._data)
            self._data = []
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"error":  # what older llama-servers write in place of `data`
            self._data.append(b'{"error":%b}' % value)


class StreamedAnswer:
    """The chunks of a stream, put together to the `chat.completion` that the same call without a stream would give."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.done = False
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    @property
    def ended(self) -> bool:
        """Nothing that may still arrive matters."""
        return self.done or self.failure is not None

    def take(self, event: bytes) -> str:
        """Take one event; the text that it adds to the first choice."""
        if event.strip() == _DONE:
            self.done = True
            return ""
        try:
            chunk = orjson.loads(event)
        except orjson.JSONDecodeError:
            self.failure = malformed("an event of the stream is no JSON")
            return ""
        if error_of(chunk):
            self.failure = classify(200, {}, event)
            return ""
        if not isinstance(chunk, dict):
            self.failure = malformed("an event of the stream is no chunk")
            return ""
        self._head |= {key: value for key, value in chunk.items() if key != "choices" and value is not None}
        choices = chunk.get("choices")
        return "".join([self._add(choice) for choice in choices or () if isinstance(choice, dict)])

    def outcome(self) -> Outcome:
        """What the stream came to, once it has ended in whatever way."""
        if self.failure:
            return self.failure
        choices = [self._choices[index] for index in sorted(self._choices)]
        return outcome_of({**self._head, "object": "chat.completion", "choices": choices})

    def _add(self, told: dict[str, Any]) -> str:
        index = told.get("index", 0) if isinstance(told.get("index", 0), int) else 0
        empty = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        choice = self._choices.setdefault(index, empty)
        choice |= {
            key: value for key, value in told.items() if key not in ("index", "delta", "logprobs") and value is not None
        }
        _merge_logprobs(choice, told.get("logprobs"))
        delta = told.get("delta")
        if not isinstance(delta, dict):
            return ""
        _merge(choice["message"], delta)
        text = delta.get("content")
        return text if isinstance(text, str) and index == 0 else ""


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Texts grow (content, reasoning, refusal), tool calls are put together, anything else is replaced."""
    for key, value in delta.items():
        if key == "tool_calls" and isinstance(value, list):
            _merge_calls(message.setdefault("tool_calls", []), value)
        elif isinstance(value, str) and key != "role":
            message[key] = (message.get(key) or "") + value
        elif value is not None:
            message[key] = value


def _merge_calls(calls: list[dict[str, Any]], pieces: list[Any]) -> None:
    """Arguments grow by index. A piece without an index begins a call if it has an id, else it continues the last."""
    for piece in filter(lambda piece: isinstance(piece, dict), pieces):
        index = piece.get("index")
        if not isinstance(index, int):
            index = len(calls) if piece.get("id") or not calls else len(calls) - 1
        if index >= len(calls):
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = calls[min(index, len(calls) - 1)]
        function = piece.get("function") or {}
        call |= {key: value for key, value in piece.items() if key not in ("index", "function") and value}
        arguments = call["function"]["arguments"] + (function.get("arguments") or "")
        call["function"] |= {key: value for key, value in function.items() if value} | {"arguments": arguments}


def _merge_logprobs(choice: dict[str, Any], told: Any) -> None:
    if not isinstance(told, dict):
        return
    kept = choice.setdefault("logprobs", {})
    for key, value in told.items():
        if isinstance(value, list):
            kept[key] = [*(kept.get(key) or []), *value]
