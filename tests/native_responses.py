"""What a provider of OpenAI's Responses answers: whole, and event by event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.faults import Script, named_events

USAGE = {
    "input_tokens": 40,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 52,
}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Dusk, then."}],
    "encrypted_content": "gAAAA",
}
SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "lamps"},
}
CITATION = {"type": "url_citation", "url": "https://x.test", "title": "x", "start_index": 0, "end_index": 1}
PART = {"type": "output_text", "text": "A lantern festival.", "annotations": [CITATION], "logprobs": []}
MESSAGE = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [PART]}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at":"dusk"}',
}
REFUSAL = {**MESSAGE, "content": [{"type": "refusal", "refusal": "I won't."}]}


def native(*output: Any, **more: Any) -> dict[str, Any]:
    """A whole Response with these items."""
    return {
        "id": "resp_theirs",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "theirs-1",
        "output": list(output),
        "usage": USAGE,
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def numbered(kinds: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """These events, with their numbers."""
    return [{**event, "sequence_number": number} for number, event in enumerate(kinds)]


def event(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, **fields}


def reasoning_events(index: int = 0) -> list[dict[str, Any]]:
    place = {"item_id": "rs_1", "summary_index": 0}
    part = REASONING["summary"][0]  # type: ignore[index]
    return [
        event("output_item.added", index, item={**REASONING, "summary": [], "encrypted_content": "g"}),
        event("reasoning_summary_part.added", index, **place, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", index, **place, delta="Dusk, "),
        event("reasoning_summary_text.delta", index, **place, delta="then."),
        event("reasoning_summary_text.done", index, **place, text="Dusk, then."),
        event("reasoning_summary_part.done", index, **place, part=part),
        event("output_item.done", index, item=REASONING),
    ]


def search_events(index: int = 0) -> list[dict[str, Any]]:
    begun = {**SEARCH, "status": "in_progress"}
    return [
        event("output_item.added", index, item=begun),
        event("web_search_call.in_progress", index, item_id="ws_1"),
        event("web_search_call.completed", index, item_id="ws_1"),
        event("output_item.done", index, item=SEARCH),
    ]


def message_events(index: int = 0, *words: str) -> list[dict[str, Any]]:
    place = {"item_id": "msg_1", "content_index": 0}
    empty = {**PART, "text": "", "annotations": []}
    deltas = [
        event("output_text.delta", index, **place, delta=word, logprobs=[])
        for word in words or ("A ", "lantern festival.")
    ]
    return [
        event("output_item.added", index, item={**MESSAGE, "content": [], "status": "in_progress"}),
        event("content_part.added", index, **place, part=empty),
        *deltas,
        event("output_text.annotation.added", index, **place, annotation_index=0, annotation=CITATION),
        event("output_text.done", index, **place, text=PART["text"], logprobs=[]),
        event("content_part.done", index, **place, part=PART),
        event("output_item.done", index, item=MESSAGE),
    ]


def call_events(index: int = 0) -> list[dict[str, Any]]:
    begun = {**CALL, "arguments": "", "status": "in_progress"}
    return [
        event("output_item.added", index, item=begun),
        event("function_call_arguments.delta", index, item_id="fc_1", delta='{"at":'),
        event("function_call_arguments.delta", index, item_id="fc_1", delta='"dusk"}'),
        event("function_call_arguments.done", index, item_id="fc_1", name="look", arguments=CALL["arguments"]),
        event("output_item.done", index, item=CALL),
    ]


def refusal_events(index: int = 0) -> list[dict[str, Any]]:
    place = {"item_id": "msg_1", "content_index": 0}
    return [
        event("output_item.added", index, item={**REFUSAL, "content": [], "status": "in_progress"}),
        event("content_part.added", index, **place, part={"type": "refusal", "refusal": ""}),
        event("refusal.delta", index, **place, delta="I won't."),
        event("refusal.done", index, **place, refusal="I won't."),
        event("output_item.done", index, item=REFUSAL),
    ]


def whole_stream(*items: Any, **more: Any) -> Script:
    return named_events(*events_of(*items, **more))


def events_of(*items: Any, end: str = "completed", **more: Any) -> list[dict[str, Any]]:
    """Every item, event by event, between the first and the last event of a Response."""
    writers = {
        "reasoning": reasoning_events,
        "web_search_call": search_events,
        "message": message_events,
        "function_call": call_events,
    }
    begun = native(status="in_progress", usage=None)
    written: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        written += refusal_events(index) if item is REFUSAL else writers[item["type"]](index)
    return numbered(
        [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            *written,
            {"type": f"response.{end}", "response": native(*items, status=end, **more)},
        ]
    )
