"""The pieces of a whole response: of an answer that was not streamed, or whose stream left no events. Pure.

No function raises: a part without the expected shape counts as absent. The usage is not among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from openfall.router_core.jobs.stream_pieces import (
    Piece,
    RawEvent,
    RefusalPiece,
    SignaturePiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
)
from openfall.router_core.jobs.unchecked_json import Body, as_object, as_objects
from openfall.router_core.vocabulary import Dialect

OPENAI_MESSAGE = frozenset({"role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls"})
"""The fields of OpenAI's messages that typed pieces can say."""

_OPENAI_CALL = frozenset({"index", "id", "type", "function", "custom"})
"""The fields of a call that typed pieces can say, and a custom call, which is carried whole."""

OLLAMA_MESSAGE = frozenset({"role", "content", "thinking", "tool_calls"})


def pieces_of_answer(body: Body, dialect: Dialect) -> tuple[Piece, ...]:
    """The pieces of a whole response in its dialect, in the order in which a stream would have them."""
    return tuple(_READERS[dialect](body))


def _of_completion(body: Body) -> Iterator[Piece]:
    for place, choice in enumerate(as_objects(body.get("choices"))):
        index, message = _number(choice.get("index"), place), as_object(choice.get("message"))
        yield from _more_of_choice(index, choice, message)
        yield from _texts(index, message)
        for call, (whole, function) in enumerate(_functions(message)):
            yield from _tool_call(index, call, *function)
            if more := fields_beside_function(whole):
                yield call_fields(index, call, more)


def fields_beside_function(call: Body) -> dict[str, Any]:
    """What a call of a function has that typed pieces cannot say: Gemini's `extra_content` must return to it."""
    return {key: value for key, value in call.items() if key not in _OPENAI_CALL and value}


def call_fields(choice: int, call: int, more: Body) -> RawEvent:
    """More fields of a call, as one chunk of a stream."""
    return RawEvent({"choices": [{"index": choice, "delta": {"tool_calls": [{"index": call, **more}]}}]})


def _more_of_choice(index: int, choice: Body, message: Body) -> Iterator[Piece]:
    """What typed pieces cannot say of a choice, as one chunk of a stream."""
    delta = {key: value for key, value in message.items() if key not in OPENAI_MESSAGE and value}
    calls = as_objects(message.get("tool_calls"))
    custom = [{"index": place, **call} for place, call in enumerate(calls) if "custom" in call]
    more: dict[str, Any] = {"index": index, "delta": delta | ({"tool_calls": custom} if custom else {})}
    if choice.get("logprobs"):
        more["logprobs"] = choice["logprobs"]
    if more["delta"] or "logprobs" in more:
        yield RawEvent({"choices": [more]})


def _texts(index: int, message: Body) -> Iterator[Piece]:
    """The thinking, the text and the refusal of a message of OpenAI's. Its content may be a list of parts."""
    if reasoning := _text(message, "reasoning_content") or _text(message, "reasoning"):
        yield ThinkingPiece(index, reasoning)
    content = message.get("content")
    parts = [{"text": content}] if isinstance(content, str) else as_objects(content)
    if text := "".join([_text(part, "text") for part in parts]):
        yield TextPiece(index, text)
    if refusal := _text(message, "refusal"):
        yield RefusalPiece(index, refusal)


def _of_message(body: Body) -> Iterator[Piece]:
    call, before = 0, ""
    for index, block in enumerate(as_objects(body.get("content"))):
        kind = _text(block, "type")
        if kind == "tool_use":
            yield from _tool_call(0, call, _text(block, "id"), _text(block, "name"), block.get("input"))
            call += 1
        elif kind in ("text", "thinking"):
            yield from _block(index, block, kind, before)
        else:
            yield RawEvent({"type": "content_block_start", "index": index, "content_block": block})
        before = "" if kind == "thinking" and block.get("signature") else kind


def _block(index: int, block: Body, kind: str, before: str) -> Iterator[Piece]:
    """A block of text or thinking. `before`: the kind of an open block, with whose text it would be joined."""
    if kind == before:
        yield RawEvent({"type": "content_block_start", "index": index, "content_block": {**block, kind: ""}})
    if text := _text(block, kind):
        yield TextPiece(0, text) if kind == "text" else ThinkingPiece(0, text)
    for citation in as_objects(block.get("citations")):
        delta = {"type": "citations_delta", "citation": citation}
        yield RawEvent({"type": "content_block_delta", "index": index, "delta": delta})
    if signature := _text(block, "signature"):
        yield SignaturePiece(0, signature)


def _of_chat(body: Body) -> Iterator[Piece]:
    message = as_object(body.get("message"))
    more = {key: value for key, value in message.items() if key not in OLLAMA_MESSAGE and value}
    line = {**({"message": more} if more else {}), **({"logprobs": body["logprobs"]} if body.get("logprobs") else {})}
    if line:
        yield RawEvent(line)
    if thinking := _text(message, "thinking"):
        yield ThinkingPiece(0, thinking)
    if text := _text(message, "content"):
        yield TextPiece(0, text)
    for call, (_, function) in enumerate(_functions(message)):
        yield from _tool_call(0, call, *function)


def _of_response(body: Body) -> Iterator[Piece]:
    call = 0
    for index, item in enumerate(as_objects(body.get("output"))):
        began = {"type": "response.output_item.added", "output_index": index, "item": emptied(item)}
        if item.get("type") == "function_call":
            yield RawEvent(began, 1)
            yield from _tool_call(0, call, _text(item, "call_id"), _text(item, "name"), item.get("arguments"))
            call += 1
        else:
            yield RawEvent(began)
            yield from _parts_of_item(index, item)
        yield RawEvent({"type": "response.output_item.done", "output_index": index, "item": item})


def _parts_of_item(index: int, item: Body) -> Iterator[Piece]:
    """The texts of a message or of reasoning, each in its part."""
    for place, part in enumerate(as_objects(item.get("summary"))):
        yield _part_added("reasoning_summary_part", index, "summary_index", place, {**part, "text": ""})
        yield ThinkingPiece(0, _text(part, "text"))
    for place, part in enumerate(as_objects(item.get("content"))):
        kind = _text(part, "type")
        field = "refusal" if kind == "refusal" else "text"
        empty = {**part, field: "", **({"annotations": []} if kind == "output_text" else {})}
        yield _part_added("content_part", index, "content_index", place, empty)
        text = _text(part, field)
        match kind:
            case "output_text":
                yield TextPiece(0, text)
            case "refusal":
                yield RefusalPiece(0, text)
            case "reasoning_text":
                yield ThinkingPiece(0, text)
    if signature := _text(item, "encrypted_content"):
        yield SignaturePiece(0, signature)


def _part_added(kind: str, index: int, name: str, place: int, part: Body) -> RawEvent:
    return RawEvent({"type": f"response.{kind}.added", "output_index": index, name: place, "part": part})


def emptied(item: Body) -> dict[str, Any]:
    """An item of a Response at its beginning."""
    begun = {key: [] if key in ("content", "summary") else value for key, value in item.items()}
    begun |= {key: "" for key in ("arguments", "input") if key in item}
    return {**begun, "status": "in_progress"}


_READERS: Mapping[Dialect, Callable[[Body], Iterator[Piece]]] = {
    "openai": _of_completion,
    "anthropic": _of_message,
    "ollama": _of_chat,
    "responses": _of_response,
}


def _functions(message: Body) -> Iterator[tuple[Body, tuple[str, str, Any]]]:
    """The calls of functions, each with its id, its name and its arguments."""
    for call in as_objects(message.get("tool_calls")):
        if function := as_object(call.get("function")):
            yield call, (_text(call, "id"), _text(function, "name"), function.get("arguments"))


def _tool_call(choice: int, call: int, call_id: str, name: str, arguments: Any) -> Iterator[Piece]:
    yield ToolStart(choice, call, call_id, name)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    if text:
        yield ToolArguments(choice, call, text)


def _text(value: Body, key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
