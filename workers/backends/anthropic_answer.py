"""Parses an Anthropic message, whole or assembled from a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import Piece
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.block_pieces import DELTAS, BlockPieces
from openfall.workers.backends.completion_shapes import inner_objects
from openfall.workers.backends.error_response import words_in_place_of
from openfall.workers.backends.exact_json import dumps, whole_number
from openfall.workers.backends.finish_reasons import read_finish_reason
from openfall.workers.backends.grown_list import grow_list
from openfall.workers.backends.parsing import TEXT_PARTS, append_text, malformed, parse_document, with_usage
from openfall.workers.backends.stream_assembly import StreamAssembler
from openfall.workers.backends.translate.finish_and_stop_reasons import STOP
from openfall.workers.backends.translate.json_values import json_object
from openfall.workers.backends.usage import merge_usage, read_message_usage, usage_piece

_REASONS = frozenset({"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "compaction"})

_DELTA_FIELDS = {"text_delta": "text", "thinking_delta": "thinking"}
"""By a delta's type, the kind of the block that its text extends, and the field of it."""


def parse_message(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(_unwrapped(document))


def _unwrapped(document: Any) -> Any:
    """The message inside a wrapper of a gateway."""
    if not isinstance(document, dict) or "content" in document:
        return document
    return next((inner for inner in inner_objects(document) if isinstance(inner.get("content"), list)), document)


def to_outcome(document: Any, *, ended: bool = True) -> Outcome:
    """The outcome of a `message`. It is complete with a stop reason, or if its end is certain (`ended`): a whole
    document, a stream with its last event. `pause_turn` is an answer."""
    outcome = _read_outcome(document, ended=ended)
    is_counted = isinstance(document, dict) and (ended or isinstance(outcome, Completion))
    return with_usage(outcome, read_message_usage(document)) if is_counted else outcome


def _read_outcome(document: Any, *, ended: bool) -> Outcome:
    content = document.get("content") if isinstance(document, dict) else None
    content = [content] if isinstance(content, str | dict) else content
    if isinstance(content, list):
        content = [_block(part) for part in content]
    if isinstance(document, dict) and content is None and document.get("stop_reason"):
        content = []
    if not isinstance(content, list):
        return words_in_place_of(document, "the answer has no content")
    stop = _stop_reason(document, content, ended=ended)
    if isinstance(stop, Failure):
        if document.get("stop_reason") != "refusal":
            return stop
        text, whole = "".join(map(_text, content)), document | {"content": content}
        return replace(stop, refusal=Completion(text=text, finish_reason="refusal", body=whole))
    if stop == "tool_use" and not any(_text(block) or _is_call(block) for block in content):
        return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail="the answer ended in a tool call, and has none")
    document = document | {"content": content, "stop_reason": stop}
    return Completion(text="".join(map(_text, content)), finish_reason=stop, body=document)


def _block(part: Any) -> Any:
    """A block of a content. Some servers send the text itself, leave out its type, or write it as OpenAI does."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type") in (None, *TEXT_PARTS):
        return {**part, "type": "text"}
    if isinstance(part, dict) and isinstance(part.get("input"), str) and part.get("type") == "tool_use":
        value = json_object(part["input"])
        return part if value is None else {**part, "input": value}
    return part


def _is_call(block: Any) -> bool:
    """Whether a block is the call of a tool, the provider's own tools included."""
    return isinstance(block, dict) and str(block.get("type")).endswith("tool_use")


def _stop_reason(document: dict[str, Any], content: list[Any], *, ended: bool) -> str | Failure:
    """The stop reason in Anthropic's words. Some servers name none: then an answer that has content ends in its end.
    Some say `end_turn` behind the calls of tools, at which the loop of an agent ends."""
    reason = document.get("stop_reason")
    if not reason and (not ended or not content):
        return malformed("the answer has no stop reason: it was cut off")
    if not reason or reason == "end_turn":
        calls = any(isinstance(block, dict) and block.get("type") == "tool_use" for block in content)
        return "tool_use" if calls else "end_turn"
    if isinstance(reason, str) and reason in _REASONS:
        return reason
    known = read_finish_reason(reason)
    if isinstance(known, Failure):
        return replace(known, detail=_refusal(document.get("stop_details"))) if reason == "refusal" else known
    return STOP[known]


def _refusal(details: Any) -> str:
    category = details.get("category") if isinstance(details, dict) else None
    suffix = f" ({category})" if isinstance(category, str) and category.isidentifier() else ""
    return f"the provider's filter stopped the answer{suffix}"


def _formed_delta(delta: dict[str, Any]) -> dict[str, Any]:
    """A delta with its type, which some servers leave out, and with the text of an input that arrives as an object."""
    kind = delta.get("type")
    if kind is None:
        kind = next((kind for kind, (name, _) in DELTAS.items() if name in delta), None)
    value = delta.get("partial_json")
    return {**delta, "type": kind} | ({"partial_json": dumps(value).decode()} if isinstance(value, dict) else {})


def _index(event: dict[str, Any]) -> int | None:
    """The index of an event; None: it has no valid one."""
    return whole_number(event.get("index"))


def _count_characters(piece: dict[str, Any]) -> int:
    """The generated characters of a delta, or of the start of a block. An empty text block has none."""
    return sum(len(value) for key, value in piece.items() if isinstance(value, str) and key not in ("type", "id"))


def _text(block: Any) -> str:
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    return text if isinstance(text, str) else ""


class MessageAssembler(StreamAssembler):
    """Assembles events into a `message`. Unknown events and deltas are ignored, as the protocol requires."""

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._open: dict[int, int] = {}
        """The place of the open block by its index: some servers begin each block under the same index."""
        self._inputs: dict[int, str] = {}
        self._pieces = BlockPieces()

    @property
    def finished_choices(self) -> int:
        return int(bool(self._message.get("stop_reason")))

    def add(self, event: bytes) -> list[Piece]:
        return [] if event.strip() == b"[DONE]" else super().add(event)  # of a proxy that also speaks OpenAI's

    def _add(self, fields: dict[str, Any]) -> list[Piece]:
        match fields:
            case {"type": "message_start", "message": dict(message)}:
                self._message |= message
                return [usage_piece(read_message_usage(message))] if message.get("usage") else []
            case {"type": "content_block_start", "content_block": dict(block)}:
                return self._begin(fields, block)
            case {"type": "content_block_delta", "delta": dict(delta)}:
                fields["delta"] = delta = _formed_delta(delta)
                place, pieces = self._find(fields, delta)
                self._extend(place, delta)
                return [*pieces, *self._pieces.extend_block(fields, place)]
            case {"type": "content_block_stop"}:
                return self._pieces.end_block()
            case {"type": "message_delta"}:
                return self._conclude(fields)
            case {"type": "message_stop"}:
                self.done = True
                return self._pieces.end_block()
        return []

    def _assemble(self) -> Outcome:
        truncated = self._message.get("stop_reason") == "max_tokens"
        for place, text in self._inputs.items():
            arguments = json_object(text) if text.strip() else self._blocks[place].get("input")
            if arguments is None and not truncated:
                detail = "the input of a tool is not a JSON object"
                return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=detail)
            self._blocks[place]["input"] = arguments or {}
        content = self._blocks or self._message.get("content") or []
        return to_outcome(self._mended({**self._message, "content": content}), ended=self.done)

    def _begin(self, event: dict[str, Any], block: dict[str, Any]) -> list[Piece]:
        """A block begins, under any index."""
        if not isinstance(block.get("type"), str):
            block["type"] = "text"
        self.characters += _count_characters(block)
        self._blocks.append(block)
        place = len(self._blocks) - 1
        if (index := _index(event)) is not None:
            self._open[index] = place
        return self._pieces.start_block(event, place)

    def _find(self, event: dict[str, Any], delta: dict[str, Any]) -> tuple[int, list[Piece]]:
        """The place of the block that a delta extends. Under an unknown index it is the last block.

        A text begins a block of its own if the block is of another kind, or if another one has begun since: the texts
        of an answer stand in the order in which its caller gets them.
        """
        last = len(self._blocks) - 1
        index, kind = _index(event), delta.get("type")
        place = last if index is None else self._open.get(index, last)
        of_text = _DELTA_FIELDS.get(kind) if isinstance(kind, str) else None
        is_continued = of_text is None or not delta.get(of_text)
        if place >= 0 and (is_continued or (place == last and self._blocks[place]["type"] == of_text)):
            return place, []
        block = {"type": of_text or "text", of_text or "text": ""}
        pieces = self._begin({"type": "content_block_start", "index": index, "content_block": block}, block)
        return len(self._blocks) - 1, pieces

    def _extend(self, place: int, delta: dict[str, Any]) -> None:
        self.characters += _count_characters(delta)
        block = self._blocks[place]
        match delta:
            case {"type": "text_delta" | "thinking_delta" as kind, **fields} if isinstance(
                piece := fields.get(_DELTA_FIELDS[kind]), str
            ):
                block[_DELTA_FIELDS[kind]] = append_text(block.get(_DELTA_FIELDS[kind]), piece)
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                self._inputs[place] = self._inputs.get(place, "") + piece
            case {"type": "signature_delta", "signature": str(signature)}:
                block["signature"] = signature
            case {"type": "citations_delta", "citation": citation}:
                block["citations"] = grow_list(block.get("citations"), [citation])

    def _conclude(self, event: dict[str, Any]) -> list[Piece]:
        """Add the stop reason and the final usage, whose counts replace those of the start."""
        delta, usage = event.get("delta"), event.get("usage")
        if isinstance(delta, dict):
            self._message |= delta
        if isinstance(usage, dict):
            self._message["usage"] = merge_usage(self._message.get("usage"), usage)
        if not usage:
            return []
        self.usage = read_message_usage(self._message)  # that of the start has counted no answer yet
        return [usage_piece(self.usage)]
