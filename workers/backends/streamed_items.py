"""The items of a streamed Response, by the events of their beginning, their growth and their end. Pure.

The last event of a stream has the whole output. Some gateways send it empty, or leave out the end of an item, or the
numbers of the items. What the events before it said is the answer then.
"""

from __future__ import annotations

from typing import Any

from openfall.workers.backends.exact_json import whole_number

_GROWTH = {
    "response.output_text.delta": ("message", "content", "output_text", "text"),
    "response.refusal.delta": ("message", "content", "refusal", "refusal"),
    "response.reasoning_text.delta": ("reasoning", "content", "reasoning_text", "text"),
    "response.reasoning.delta": ("reasoning", "content", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("reasoning", "summary", "summary_text", "text"),
    "response.function_call_arguments.delta": ("function_call", "arguments", "", ""),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input", "", ""),
}
"""By event: the type of its item, the field that grows, and where it holds parts, their type and their field."""


class StreamedItems:
    """Collects the items of one Response. Each event is given to `numbered` first."""

    def __init__(self) -> None:
        self._items: dict[int, dict[str, Any]] = {}
        self._ended: set[int] = set()
        self._texts: dict[int, dict[str, list[str]]] = {}
        """By number and by event, the pieces of a text."""
        self._numbers: dict[str, int] = {}
        """By the id of an item, its number."""

    def numbered(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with the number of its item; the event itself if it is about none."""
        kind, item = event["type"], event.get("item")
        fields = item if isinstance(item, dict) else {}
        item_id = event.get("item_id") or fields.get("id") or fields.get("call_id")
        if not fields and item_id is None and kind not in _GROWTH:
            return event
        number = whole_number(event.get("output_index"))
        if number is None:
            number = self._number_of(item_id, begins=kind == "response.output_item.added")
        if item_id is not None:
            self._numbers.setdefault(str(item_id), number)
        return event | {"output_index": number}

    def _number_of(self, item_id: Any, *, begins: bool) -> int:
        """The number of the item with that id; without an id, of the last item while it has not ended."""
        last = max((*self._items, *self._texts), default=-1)
        is_next = begins or item_id is not None or last < 0 or last in self._ended
        return self._numbers.get(str(item_id), last + 1 if is_next else last)

    def add(self, event: dict[str, Any]) -> None:
        """Add an event that has a number. Any other one belongs to no item."""
        kind, number, item, delta = event["type"], event.get("output_index"), event.get("item"), event.get("delta")
        if not isinstance(number, int):
            return
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            self._items[number] = item
            self._ended |= {number} if kind == "response.output_item.done" else set()
        elif kind in _GROWTH and isinstance(delta, str):
            self._texts.setdefault(number, {}).setdefault(kind, []).append(delta)

    def output(self) -> list[dict[str, Any]]:
        """The items in their order. One without an end is as its events left it."""
        return [self._whole(number) for number in sorted({*self._items, *self._texts})]

    def _whole(self, number: int) -> dict[str, Any]:
        item = self._items.get(number, {})
        if number in self._ended:
            return item
        item = item | {"status": "completed"}
        for kind, pieces in self._texts.get(number, {}).items():
            of_type, field, part_type, text_field = _GROWTH[kind]
            text = "".join(pieces)
            part = {"type": part_type, text_field: text}
            item = {"type": of_type} | item | {field: [part] if part_type else text}
        return item
