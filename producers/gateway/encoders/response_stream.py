"""The events of a streamed Response. Pure.

`sequence_number` counts from 0 and follows from the events of the job alone. So every gateway numbers alike, now or
later, and a client that lost its gateway resumes at another with `starting_after`. No event type of ours: openai-js
fails at one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.encoders.response_item import Event, OpenItem
from openfall.producers.gateway.encoders.response_object import ResponseHead, output_items
from openfall.producers.gateway.encoders.sent_pieces import SentPieces
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.response_items import call_item, is_own, item_id, message_item, reasoning_item
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import (
    Piece,
    RawEvent,
    RefusalPiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
)
from openfall.router_core.jobs.unchecked_json import as_object
from openfall.router_core.vocabulary import MODEL_WAITS

_QUEUED = frozenset({"queued", "scheduled", "held", "fallen", "degraded"})
_IN_PROGRESS = MODEL_WAITS | {"started"}
_SHOWN = ("why", "position", "due", "held_for", "models", "model", "text")
"""Fields of a job's event that a reader of the Response may see."""


@dataclass(slots=True)
class ResponseStream:
    """One streamed Response. Events up to the number `after` are left out."""

    head: ResponseHead
    after: int = -1
    sent: SentPieces = field(default_factory=SentPieces)
    _number: int = 0
    _index: int = 0
    """The index of the next item."""
    _first_index: int = 0
    """The index of the first item of the attempt that counts."""
    _open: OpenItem | None = None
    _items: list[dict[str, Any]] = field(default_factory=list)
    """The finished items of the attempt that counts."""
    _void: list[dict[str, Any]] = field(default_factory=list)
    """Those of the attempts before it."""
    _calls: int = 0
    """The tool calls of that attempt."""
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
        return self._packed([(f"response.{status}", self._lifecycle(status, output=self._so_far(), openfall=more))])

    def pieces(self, pieces: Iterable[Piece]) -> bytes:
        """The events for the next pieces of the answer."""
        pieces = list(pieces)
        self.sent.add(pieces)
        return self._packed(self._of_pieces(pieces))

    def restart(self) -> bytes:
        """Another model starts: the items so far are closed as incomplete, and are not in the final Response."""
        events = list(self._close("incomplete"))
        self._void += self._items
        self.sent, self._items, self._first_index, self._calls = SentPieces(), [], self._index, 0
        return self._packed(events)

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes:
        """What is left of the answer, and the final Response."""
        events: list[Event] = []
        if result.answered:
            body = result.body or {}
            whole = {**body, "output": output_items(self.head.job_id, body, self._index)}
            rest = list(self.sent.rest(pieces_of_answer(whole, "responses")))
            self.sent.add(rest)
            events += self._of_pieces(rest)
        events += self._close("completed" if result.answered else "incomplete")
        response = self.head.ended(result, receipt, self._first_index)
        if result.answered and self._items and all(map(is_own, response["output"])):
            response["output"] = self._items
        kind = "failed" if response["status"] in ("failed", "cancelled") else response["status"]
        packed = self._packed(events)
        if self._number < self.after:  # a failover of Redis lost some of the events that the caller has read
            self._number = self.after + 1
        return packed + self._packed([(f"response.{kind}", {"response": response})])

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An error of this stream, not of the job: it has the number of the event before it: a client resumes there.
        Clients drop a bare `error` event."""
        message = (error.get("error") or {}).get("message") or "the stream ended"
        response = self._lifecycle("failed", error={"code": "server_error", "message": message})
        number = max(0, self.after, self._number - 1)
        return sse.named("response.failed", {"type": "response.failed", "sequence_number": number, **response})

    def waiting(self, position: int | None) -> bytes:
        """Something that keeps the connection open while nothing is written. It has no number."""
        return sse.comment("waiting" if position is None else f"queued position={position}")

    def _of_pieces(self, pieces: Iterable[Piece]) -> Iterator[Event]:
        covered = 0
        for piece in pieces:
            if covered:
                covered -= 1
            elif isinstance(piece, RawEvent):
                covered = piece.covers
                yield from self._raw(piece.event)
            else:
                yield from self._of_piece(piece)

    def _of_piece(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case TextPiece(choice=0, text=text):
                yield from self._text("output_text", text)
            case RefusalPiece(choice=0, text=text):
                yield from self._text("refusal", text)
            case ThinkingPiece(choice=0, text=text):
                yield from self._text("reasoning_text", text)
            case ToolStart(choice=0, call=call, id=call_id, name=name):
                item = call_item(self._id("fc"), call_id, name, "", "in_progress")
                yield from self._begin(OpenItem(self._index, item, call))
            case ToolArguments(choice=0, call=call, text=text):
                if self._open is not None and self._open.call == call:
                    yield self._open.add_arguments(text)

    def _text(self, part: str, text: str) -> Iterator[Event]:
        if not text:
            return
        if self._open is None or not self._open.accepts(part):
            is_message = part in ("output_text", "refusal")
            item = message_item(self._id("msg"), [], "in_progress") if is_message else self._reasoning()
            yield from self._begin(OpenItem(self._index, item))
        assert self._open is not None
        yield from self._open.write(part, text)

    def _reasoning(self) -> dict[str, Any]:
        return reasoning_item(self._id("rs"), "", "in_progress")

    def _raw(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """The provider's own event, under the index of this stream."""
        kind, item, part = event.get("type"), event.get("item"), event.get("part")
        index = event.get("output_index")
        theirs = index if isinstance(index, int) else -1
        if kind == "response.output_item.added" and isinstance(item, Mapping):
            call = self._calls if item.get("type") == "function_call" else -1
            yield from self._begin(OpenItem(self._index, dict(item), call, theirs))
        elif self._open is None or not isinstance(kind, str) or theirs not in (-1, self._open.theirs):
            return  # the item has ended: another one began before its own end
        elif kind == "response.output_item.done":
            yield from self._close("completed", as_object(item))
        elif kind in ("response.content_part.added", "response.reasoning_summary_part.added"):
            if isinstance(part, Mapping) and isinstance(part.get("type"), str):
                yield from self._open.open_part(part)
        else:
            self._open.count(event)
            yield kind, {**event, "output_index": self._open.index}

    def _begin(self, item: OpenItem) -> Iterator[Event]:
        yield from self._close("completed")
        self._open, self._index = item, self._index + 1
        self._calls += item.kind == "function_call"
        yield "response.output_item.added", {"output_index": item.index, "item": item.begun}

    def _close(self, status: str, ended: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """The events that end the open item."""
        if (item := self._open) is None:
            return
        self._open = None
        if ended and ended.get("status") == "incomplete":
            status = "incomplete"
        self._items.append(item.whole(status, ended or {}))
        yield from item.close(status, ended or {})

    def _so_far(self) -> list[dict[str, Any]]:
        """Every item that the stream has begun: openai-js takes the output of each Response in it for the whole."""
        return [*self._void, *self._items, *([] if self._open is None else [self._open.so_far()])]

    def _id(self, prefix: str) -> str:
        return item_id(prefix, self._index, self.head.job_id)

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
