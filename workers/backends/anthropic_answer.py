"""Parses an Anthropic message, whole or assembled from a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.parsing import StreamAssembler, append_text, malformed, parse_document, token_count
from openfall.workers.backends.translate.json_values import json_object

_DELTA_FIELDS = {"text_delta": "text", "thinking_delta": "thinking"}
"""By a delta's type, the field of the block that its text extends."""


def parse_message(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(document)


def to_outcome(document: Any) -> Outcome:
    """The outcome of a `message`. It is complete only with content and a stop reason. `pause_turn` is an answer."""
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
    suffix = f" ({category})" if isinstance(category, str) and category.isidentifier() else ""
    return f"the provider's filter stopped the answer{suffix}"


def _text(block: Any) -> str:
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    return text if isinstance(text, str) else ""


def _prompt_tokens(usage: Any) -> int | None:
    """`input_tokens` excludes the cached tokens."""
    uncached = token_count(usage, "input_tokens")
    if uncached is None:
        return None
    return uncached + sum(token_count(usage, f"cache_{kind}_input_tokens") or 0 for kind in ("creation", "read"))


class MessageAssembler(StreamAssembler):
    """Assembles events into a `message`. Unknown events and deltas are ignored, as the protocol requires."""

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}

    def _add(self, fields: dict[str, Any]) -> str:
        match fields:
            case {"type": "message_start", "message": dict(message)}:
                self._message |= message
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                self._blocks[index] = block
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                return self._extend(index, delta)
            case {"type": "message_delta"}:
                self._conclude(fields)
            case {"type": "message_stop"}:
                self.done = True
        return ""

    def _assemble(self) -> Outcome:
        truncated = self._message.get("stop_reason") == "max_tokens"
        for index, text in self._inputs.items():
            arguments = json_object(text)
            if arguments is None and not truncated:
                detail = "the input of a tool is not a JSON object"
                return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=detail)
            self._blocks[index]["input"] = arguments or {}
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return to_outcome({**self._message, "content": content})

    def _extend(self, index: int, delta: dict[str, Any]) -> str:
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        match delta:
            case {"type": "text_delta" | "thinking_delta" as kind, **fields} if isinstance(
                piece := fields.get(_DELTA_FIELDS[kind]), str
            ):
                block[_DELTA_FIELDS[kind]] = append_text(block.get(_DELTA_FIELDS[kind]), piece)
                return piece if kind == "text_delta" else ""
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                self._inputs[index] = self._inputs.get(index, "") + piece
            case {"type": "signature_delta", "signature": str(signature)}:
                block["signature"] = signature
            case {"type": "citations_delta", "citation": citation}:
                earlier = block.get("citations")
                block["citations"] = [*(earlier if isinstance(earlier, list) else []), citation]
        return ""

    def _conclude(self, event: dict[str, Any]) -> None:
        """Add the stop reason and the final usage, whose numbers replace those of the start."""
        delta, usage = event.get("delta"), event.get("usage")
        if isinstance(delta, dict):
            self._message |= delta
        if isinstance(usage, dict):
            before = self._message.get("usage")
            known = {key: value for key, value in usage.items() if value is not None}
            self._message["usage"] = {**(before if isinstance(before, dict) else {}), **known}
