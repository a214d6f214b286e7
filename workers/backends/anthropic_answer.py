"""An Anthropic message, whole or put together from a stream, read as an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

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

_GROWING = {"text_delta": "text", "thinking_delta": "thinking"}
"""A delta's type, and the field of the block that its text makes longer."""


def parse_message(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(document)


def to_outcome(document: Any) -> Outcome:
    """The outcome of a `message`: complete only with content and a stop reason. `pause_turn` is an answer."""
    content = document.get("content") if isinstance(document, dict) else None
    if not isinstance(content, list):
        return malformed("the answer has no content")
    stop = document.get("stop_reason")
    if not isinstance(stop, str) or not stop:
        return malformed("the answer has no stop reason: it was cut off")
    if stop == "refusal":
        return Failure(error_class=ErrorClass.CONTENT_FILTER, detail=_refusal(document.get("stop_details")))
    if stop == "model_context_window_exceeded":
        return Failure(error_class=ErrorClass.CONTEXT_OVERFLOW, detail="the answer ran into the end of the context")
    usage = document.get("usage")
    return Completion(
        text="".join(map(_text, content)),
        finish_reason=stop,
        input_tokens=_prompt_tokens(usage),
        output_tokens=token_count(usage, "output_tokens"),
        cache_read_tokens=token_count(usage, "cache_read_input_tokens"),
        cache_write_tokens=token_count(usage, "cache_creation_input_tokens"),
        body=document,
    )


def _refusal(details: Any) -> str:
    category = details.get("category") if isinstance(details, dict) else None
    named = f" ({category})" if isinstance(category, str) and category.isidentifier() else ""
    return f"the provider's filter stopped the answer{named}"


def _text(block: Any) -> str:
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    return text if isinstance(text, str) else ""


def _prompt_tokens(usage: Any) -> int | None:
    """`input_tokens` are only those that the cache had no part in."""
    fresh = token_count(usage, "input_tokens")
    if fresh is None:
        return None
    return fresh + sum(token_count(usage, f"cache_{kind}_input_tokens") or 0 for kind in ("creation", "read"))


class MessageAssembler:
    """The events of a stream, put together to the `message` that the same call without a stream would give.

    Events and deltas of a kind that is not known are passed over, as the protocol asks.
    """

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.done = False
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}

    @property
    def ended(self) -> bool:
        """Nothing that may still arrive matters."""
        return self.done or self.failure is not None

    def add(self, event: bytes) -> str:
        """Take one event; the text that it adds to the answer."""
        told = parse_event(event)
        if isinstance(told, Failure):
            self.failure = told
            return ""
        match told:
            case {"type": "message_start", "message": dict(message)}:
                self._message |= message
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                self._blocks[index] = block
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                return self._grow(index, delta)
            case {"type": "message_delta"}:
                self._conclude(told)
            case {"type": "message_stop"}:
                self.done = True
        return ""

    def outcome(self) -> Outcome:
        """What the stream came to, once it has ended in whatever way."""
        if self.failure:
            return self.failure
        cut = self._message.get("stop_reason") == "max_tokens"
        for index, told in self._inputs.items():
            given = _input(told)
            if given is None and not cut:
                return malformed("the input of a tool is no JSON object")
            self._blocks[index]["input"] = given or {}
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return to_outcome({**self._message, "content": content})

    def _grow(self, index: int, delta: dict[str, Any]) -> str:
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        match delta:
            case {"type": "text_delta" | "thinking_delta" as kind, **fields} if isinstance(
                more := fields.get(_GROWING[kind]), str
            ):
                block[_GROWING[kind]] = append_text(block.get(_GROWING[kind]), more)
                return more if kind == "text_delta" else ""
            case {"type": "input_json_delta", "partial_json": str(more)}:
                self._inputs[index] = self._inputs.get(index, "") + more
            case {"type": "signature_delta", "signature": str(signature)}:
                block["signature"] = signature
            case {"type": "citations_delta", "citation": citation}:
                cited = block.get("citations")
                block["citations"] = [*(cited if isinstance(cited, list) else []), citation]
        return ""

    def _conclude(self, told: dict[str, Any]) -> None:
        """The stop reason, and the usage as it is by now: its numbers replace those of the start."""
        delta, usage = told.get("delta"), told.get("usage")
        if isinstance(delta, dict):
            self._message |= delta
        if isinstance(usage, dict):
            before = self._message.get("usage")
            known = {key: value for key, value in usage.items() if value is not None}
            self._message["usage"] = {**(before if isinstance(before, dict) else {}), **known}


def _input(told: str) -> dict[str, Any] | None:
    """The input of a tool out of its pieces; None when they make no object. No piece at all is an empty one."""
    try:
        given = orjson.loads(told or "{}")
    except orjson.JSONDecodeError:
        return None
    return given if isinstance(given, dict) else None
