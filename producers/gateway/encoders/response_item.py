"""The item of a streamed Response that is being written, and the events of its texts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.jobs.response_items import refusal_part, text_part
from openfall.router_core.jobs.unchecked_json import as_list

Event = tuple[str, dict[str, Any]]

_EMPTY: Mapping[str, dict[str, Any]] = {
    "output_text": text_part(""),
    "refusal": refusal_part(""),
    "reasoning_text": {"type": "reasoning_text", "text": ""},
    "summary_text": {"type": "summary_text", "text": ""},
}
_EVENT_NAMES = {"summary_text": "reasoning_summary_text"}


@dataclass(slots=True)
class OpenItem:
    """An item that is being written. `begun` is the item as it began; `call`: the number of its tool call.

    `theirs`: its index in the provider's events. -1: no provider began it. Then a text of another kind begins another
    item.
    """

    index: int
    begun: dict[str, Any]
    call: int = -1
    theirs: int = -1
    arguments: str = ""
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By the field of the item: `content` or `summary`."""
    _open: tuple[str, int] | None = None
    """The field and the place of the open part."""

    @property
    def kind(self) -> str:
        return str(self.begun.get("type"))

    def accepts(self, part: str) -> bool:
        """Whether the next text of this kind belongs to this item."""
        kind = "message" if part in ("output_text", "refusal") else "reasoning"
        return self.kind == kind and (self.theirs >= 0 or self._open is None or self._part["type"] == part)

    def write(self, kind: str, text: str) -> Iterator[Event]:
        """The events for the next part of a text."""
        if self._open is not None and kind == "reasoning_text" and self._part["type"] == "summary_text":
            kind = "summary_text"  # a piece of thinking does not say which of the two it is
        if self._open is None or self._part["type"] != kind:
            yield from self.open_part(_EMPTY[kind])
        part = self._part
        part[_text_of(part)] += text
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        yield f"response.{_EVENT_NAMES.get(kind, kind)}.delta", self._place(delta=text, **more)

    def count(self, event: Mapping[str, Any]) -> None:
        """The provider's own event says the next part of the text, or an annotation of it."""
        if self._open is None:
            return
        part, text = self._part, event.get("delta")
        if isinstance(text, str):
            part[_text_of(part)] += text
            if isinstance(tokens := event.get("logprobs"), list):
                part["logprobs"] = [*as_list(part.get("logprobs")), *tokens]
        if annotation := event.get("annotation"):
            part["annotations"] = [*as_list(part.get("annotations")), annotation]

    def open_part(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The next part begins."""
        yield from self._close_part()
        name = "summary" if part.get("type") == "summary_text" else "content"
        parts = self.parts.setdefault(name, [])
        field_name = _text_of(part)
        text = part.get(field_name)
        parts.append({**part, field_name: text if isinstance(text, str) else ""})
        self._open = name, len(parts) - 1
        kind = "reasoning_summary_part" if name == "summary" else "content_part"
        yield f"response.{kind}.added", self._place(part=dict(part))

    def add_arguments(self, text: str) -> Event:
        self.arguments += text
        return "response.function_call_arguments.delta", self.at(delta=text)

    def close(self, status: str, ended: Mapping[str, Any]) -> Iterator[Event]:
        """The events that end it. `ended`: what its provider says of it at its end."""
        yield from self._close_part()
        if self.kind == "function_call":
            arguments = self.arguments or "{}"
            name = self.begun.get("name")
            yield "response.function_call_arguments.done", self.at(name=name, arguments=arguments)
        yield "response.output_item.done", {"output_index": self.index, "item": self.whole(status, ended)}

    def whole(self, status: str, ended: Mapping[str, Any]) -> dict[str, Any]:
        """The item as far as it is written."""
        if self.kind not in ("message", "reasoning", "function_call"):
            return {**self.begun, "status": "failed" if status == "incomplete" else status, **ended}
        texts: dict[str, Any] = {"arguments": self.arguments or "{}"} if self.kind == "function_call" else {}
        return {**self.begun, **self.parts, **texts, **ended, "status": status}

    def so_far(self) -> dict[str, Any]:
        """The item, to which more may be written."""
        texts = {"arguments": self.arguments} if self.kind == "function_call" else {}
        return {**self.whole("in_progress", {}), **texts}

    def at(self, **fields: Any) -> dict[str, Any]:
        return {"item_id": self.begun.get("id"), "output_index": self.index, **fields}

    @property
    def _part(self) -> dict[str, Any]:
        assert self._open is not None
        name, place = self._open
        return self.parts[name][place]

    def _place(self, **fields: Any) -> dict[str, Any]:
        assert self._open is not None
        name, place = self._open
        return self.at(**{f"{name}_index": place}, **fields)

    def _close_part(self) -> Iterator[Event]:
        """The events that end the open part."""
        if self._open is None:
            return
        part = self._part
        kind, name = part["type"], _text_of(part)
        more: dict[str, Any] = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
        if kind in _EMPTY:
            event = _EVENT_NAMES.get(kind, kind)
            yield f"response.{event}.done", self._place(**{name: part.get(name) or ""}, **more)
        of_item = "reasoning_summary_part" if self._open[0] == "summary" else "content_part"
        yield f"response.{of_item}.done", self._place(part=dict(part))
        self._open = None


def _text_of(part: Mapping[str, Any]) -> str:
    """The field of a part that has its text."""
    return "refusal" if part.get("type") == "refusal" else "text"
