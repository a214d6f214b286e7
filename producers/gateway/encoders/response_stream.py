"""The events of a streamed Response. Pure.

`sequence_number` counts from 0 and follows from the events of the job alone. So every door numbers alike, now or later,
and a client that lost its door resumes at another with `starting_after`. No event type of ours: openai-js fails at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.encoders.response_object import (
    ResponseHead,
    call_item,
    message_item,
    reasoning_item,
    text_part,
)
from openfall.producers.gateway.encoders.shown import Shown
from openfall.router_core.jobs.pieces import Piece, RefusalPiece, TextPiece, ThinkingPiece, ToolArguments, ToolStart
from openfall.router_core.jobs.pieces_of_answer import pieces_of_answer
from openfall.router_core.jobs.result import Result

Event = tuple[str, dict[str, Any]]

_QUEUED = frozenset({"queued", "scheduled", "held", "fallen", "degraded"})
_IN_PROGRESS = frozenset({"started", "loading"})
_SHOWN = ("why", "position", "due", "held_for", "models", "model", "text")
"""Fields of a job's event that a reader of the Response may see."""


@dataclass(slots=True)
class _OpenItem:
    """The item that is being written. `call`: the number of the tool call."""

    kind: str
    index: int
    text: str = ""
    call: int = -1
    call_id: str = ""
    name: str = ""


@dataclass(slots=True)
class ResponseStream:
    """One streamed Response. Events up to the number `after` are left out."""

    head: ResponseHead
    after: int = -1
    shown: Shown = field(default_factory=Shown)
    _number: int = 0
    _index: int = 0
    """The index of the next item."""
    _first_index: int = 0
    """The index of the first item of the attempt that counts."""
    _open: _OpenItem | None = None
    _items: list[dict[str, Any]] = field(default_factory=list)
    """The finished items of the attempt that counts."""
    _cursor: int = 0

    media_type = "text/event-stream"
    carries_failures = True

    def progress(self, event: Mapping[str, Any]) -> bytes:
        """A change of the state of the job. A change of position has no place in the list, and gets no number."""
        if event.get("cursor", 0) <= self._cursor:
            return b""
        self._cursor = event["cursor"]
        kind = event["event"]
        if kind not in _QUEUED | _IN_PROGRESS:
            return b""
        status = "queued" if kind in _QUEUED else "in_progress"
        more = {"event": kind, **{name: event[name] for name in _SHOWN if name in event}}
        return self._packed([(f"response.{status}", self._lifecycle(status, openfall=more))])

    def pieces(self, pieces: Iterable[Piece]) -> bytes:
        """The events for the next pieces of the answer."""
        pieces = list(pieces)
        self.shown.add(pieces)
        return self._packed(event for piece in pieces for event in self._of_piece(piece))

    def restart(self) -> bytes:
        """Another model begins anew: the items so far are closed as incomplete, and are not in the final Response."""
        events = list(self._close("incomplete"))
        self.shown, self._items, self._first_index = Shown(), [], self._index
        return self._packed(events)

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes:
        """What is left of the answer, and the final Response."""
        events: list[Event] = []
        if result.answered:
            rest = list(self.shown.rest(pieces_of_answer(result.body or {}, "openai")))
            events += [event for piece in rest for event in self._of_piece(piece)]
        events += self._close("completed" if result.answered else "incomplete")
        response = self.head.ended(result, receipt, self._first_index)
        if result.answered and self._items:
            response["output"] = self._items
        kind = "failed" if response["status"] in ("failed", "cancelled") else response["status"]
        return self._packed([*events, (f"response.{kind}", {"response": response})])

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An error of this stream, not of the job: it has the number of the event before it: a client resumes there.
        Clients drop a bare `error` event."""
        message = (error.get("error") or {}).get("message") or "the stream ended"
        response = self._lifecycle("failed", error={"code": "server_error", "message": message})
        number = max(0, self._number - 1)
        return sse.named("response.failed", {"type": "response.failed", "sequence_number": number, **response})

    def waiting(self, position: int | None) -> bytes:
        """Something that keeps the connection open while nothing is written. It has no number."""
        return sse.comment("waiting" if position is None else f"queued position={position}")

    def _of_piece(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case TextPiece(choice=0, text=text):
                yield from self._part("output_text", text)
            case RefusalPiece(choice=0, text=text):
                yield from self._part("refusal", text)
            case ThinkingPiece(choice=0, text=text):
                yield from self._thinking(text)
            case ToolStart(choice=0, call=call, id=call_id, name=name):
                yield from self._begin(_OpenItem("call", self._index, call=call, call_id=call_id, name=name))
            case ToolArguments(choice=0, call=call, text=text):
                if self._open is not None and self._open.call == call:
                    self._open.text += text
                    yield "response.function_call_arguments.delta", self._place(delta=text)

    def _part(self, kind: str, text: str) -> Iterator[Event]:
        if self._open is None or self._open.kind != kind:
            yield from self._begin(_OpenItem(kind, self._index))
            empty = text_part("") if kind == "output_text" else {"type": "refusal", "refusal": ""}
            yield "response.content_part.added", self._place(content_index=0, part=empty)
        assert self._open is not None
        self._open.text += text
        logprobs: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        yield f"response.{kind}.delta", self._place(content_index=0, delta=text, **logprobs)

    def _thinking(self, text: str) -> Iterator[Event]:
        if self._open is None or self._open.kind != "reasoning":
            yield from self._begin(_OpenItem("reasoning", self._index))
            yield (
                "response.content_part.added",
                self._place(content_index=0, part={"type": "reasoning_text", "text": ""}),
            )
        assert self._open is not None
        self._open.text += text
        yield "response.reasoning_text.delta", self._place(content_index=0, delta=text)

    def _begin(self, item: _OpenItem) -> Iterator[Event]:
        yield from self._close("completed")
        self._open, self._index = item, self._index + 1
        yield "response.output_item.added", {"output_index": item.index, "item": self._item(item, "in_progress")}

    def _close(self, status: str) -> Iterator[Event]:
        """The events that end the open item."""
        item = self._open
        if item is None:
            return
        if item.kind == "call":
            item.text = item.text or "{}"
            yield "response.function_call_arguments.done", self._place(name=item.name, arguments=item.text)
        else:
            field_name = "refusal" if item.kind == "refusal" else "text"
            event = "reasoning_text" if item.kind == "reasoning" else item.kind
            logprobs: dict[str, Any] = {"logprobs": []} if item.kind == "output_text" else {}
            yield f"response.{event}.done", self._place(content_index=0, **{field_name: item.text}, **logprobs)
            yield "response.content_part.done", self._place(content_index=0, part=_part_of(item))
        self._open = None
        whole = self._item(item, status)
        self._items.append(whole)
        yield "response.output_item.done", {"output_index": item.index, "item": whole}

    def _item(self, item: _OpenItem, status: str) -> dict[str, Any]:
        job_id, begun = self.head.job_id, status == "in_progress"
        if item.kind == "call":
            function = {"call_id": item.call_id, "name": item.name, "arguments": item.text}
            return call_item(job_id, item.index, function, status)
        if item.kind == "reasoning":
            return reasoning_item(job_id, item.index, item.text, status)
        return message_item(job_id, item.index, [] if begun else [_part_of(item)], status)

    def _place(self, **fields: Any) -> dict[str, Any]:
        assert self._open is not None
        item_id = self._item(self._open, "in_progress")["id"]
        return {"item_id": item_id, "output_index": self._open.index, **fields}

    def _lifecycle(self, status: str, **more: Any) -> dict[str, Any]:
        return {"response": self.head.response(status, **more)}

    def _packed(self, events: Iterable[Event]) -> bytes:
        """Events with their numbers. The first of all is `response.created`."""
        chunks = []
        if self._number == 0:
            chunks.append(self._numbered("response.created", self._lifecycle("queued")))
        chunks += [self._numbered(kind, body) for kind, body in events]
        return b"".join(chunks)

    def _numbered(self, kind: str, body: Mapping[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse.named(kind, {"type": kind, "sequence_number": number, **body}) if number > self.after else b""


def _part_of(item: _OpenItem) -> dict[str, Any]:
    match item.kind:
        case "refusal":
            return {"type": "refusal", "refusal": item.text}
        case "reasoning":
            return {"type": "reasoning_text", "text": item.text}
        case _:
            return text_part(item.text)
