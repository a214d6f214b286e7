"""The bodies and the chunks of OpenAI's chat completions, and of its legacy completions. Pure.

Hard rules for chunks, each from a client that fails otherwise: every chunk but the usage has a choice; the usage comes
only on request; an event with a name of ours has a chunk as its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.encoders.sent_pieces import SentPieces
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
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
from openfall.router_core.vocabulary import MODEL_WAITS


def completion_id(job_id: str) -> str:
    return f"chatcmpl-{job_id}"


def completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response: the provider's own, with an id of ours, and the model that the caller asked for, since
    clients compare it."""
    body = dict(result.body or {})
    body.update(id=completion_id(result.id), object="chat.completion", model=asked_for)
    if receipt is not None:
        body["openfall"] = receipt
    return body


def text_completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response in the form of the legacy completions."""
    body = completion(result, asked_for, receipt)
    texts: dict[int, str] = {}
    for piece in pieces_of_answer(body, "openai"):
        if isinstance(piece, TextPiece):
            texts[piece.choice] = texts.get(piece.choice, "") + piece.text
    body.update(id=f"cmpl-{result.id}", object="text_completion")
    choices = [choice for choice in body.get("choices") or () if isinstance(choice, Mapping)]
    numbers = [choice.get("index", place) for place, choice in enumerate(choices)]
    body["choices"] = [
        {"index": number, "text": texts.get(number, ""), "logprobs": None, "finish_reason": choice.get("finish_reason")}
        for number, choice in zip(numbers, choices, strict=True)
    ]
    return body


@dataclass(slots=True)
class ChatStream:
    """One streamed answer. `created`: epoch seconds. `keepalive`: `comment`, `chunk` (for clients that read no
    comments) or `off`. `legacy`: the form of the legacy completions, which have text only."""

    job_id: str
    asked_for: str
    created: int
    include_usage: bool = False
    keepalive: str = "comment"
    legacy: bool = False
    sent: SentPieces = field(default_factory=SentPieces)
    _opened: set[int] = field(default_factory=set)

    media_type = "text/event-stream"
    carries_failures = False

    def pieces(self, pieces: Iterable[Piece]) -> bytes:
        """The chunks for the next pieces of the answer."""
        pieces = list(pieces)
        self.sent.add(pieces)
        return b"".join(self._chunks(pieces))

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes:
        """What is left of the answer, the finish reasons with the receipt, the usage, and the end."""
        body = result.body or {}
        rest = self.pieces(self.sent.rest(pieces_of_answer(body, "openai")))
        choices = [choice for choice in body.get("choices") or () if isinstance(choice, Mapping)]
        finishes = [(choice.get("index", place), choice.get("finish_reason")) for place, choice in enumerate(choices)]
        chunks = [self._choice(index, {}, finish or "stop") for index, finish in finishes or [(0, "stop")]]
        chunks[-1]["openfall"] = dict(receipt)
        return b"".join([rest, *map(sse.data, chunks), self._usage(body), sse.DONE])

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An error after the head: SDKs raise it with its message."""
        return sse.data(error) + sse.DONE

    def waiting(self, position: int | None) -> bytes:
        """Something that keeps the connection open while nothing is written."""
        if self.keepalive == "chunk":
            return sse.data(self._choice(0, {"content": ""}))
        if self.keepalive == "off":
            return b""
        return sse.comment("waiting" if position is None else f"queued position={position}")

    def progress(self, event: Mapping[str, Any]) -> bytes:
        """A model is being loaded: an event with a name, whose data is a chunk like any other."""
        if event["event"] not in MODEL_WAITS:
            return b""
        shown = {key: value for key, value in event.items() if key not in ("cursor", "at")}
        return sse.named("model_switching", {**self._choice(0, {}), "openfall": shown})

    def restart(self) -> None:
        """A client has no word for a text that is void."""

    def _chunks(self, pieces: list[Piece]) -> Iterator[bytes]:
        covered = 0
        for piece in pieces:
            if covered:
                covered -= 1
            elif isinstance(piece, RawEvent):
                if own := self._raw(piece.event):
                    covered = piece.covers
                    yield own
            elif (delta := _delta(piece)) is not None:
                yield self._delta(getattr(piece, "choice", 0), delta)

    def _raw(self, event: Mapping[str, Any]) -> bytes:
        """The provider's own chunk, with our id and the name that the caller sent. Empty: it has no choice."""
        choices = [choice for choice in event.get("choices") or () if isinstance(choice, Mapping)]
        if not choices or self.legacy:
            return b""
        own = {key: value for key, value in event.items() if key not in ("usage", "choices")}
        opened = b"".join(self._open(choice.get("index", 0)) for choice in choices)
        chunk = {**own, **self._head(), "choices": [{**choice, "finish_reason": None} for choice in choices]}
        return opened + sse.data(chunk)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> bytes:
        if self.legacy:
            text = delta.get("content")
            return sse.data(self._choice(index, {"content": text})) if text else b""
        return self._open(index) + sse.data(self._choice(index, delta))

    def _open(self, index: int) -> bytes:
        """The first chunk of a choice has its role. Empty: it was sent before."""
        if index in self._opened or self.legacy:
            return b""
        self._opened.add(index)
        return sse.data(self._choice(index, {"role": "assistant", "content": ""}))

    def _choice(self, index: int, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": finish}
        choice |= {"text": delta.get("content") or ""} if self.legacy else {"delta": dict(delta)}
        return {**self._head(), "choices": [choice]}

    def _usage(self, body: Mapping[str, Any]) -> bytes:
        if not self.include_usage or not isinstance(body.get("usage"), Mapping):
            return b""
        return sse.data({**self._head(), "choices": [], "usage": body["usage"]})

    def _head(self) -> dict[str, Any]:
        kind = "text_completion" if self.legacy else "chat.completion.chunk"
        own_id = f"cmpl-{self.job_id}" if self.legacy else completion_id(self.job_id)
        return {"id": own_id, "object": kind, "created": self.created, "model": self.asked_for}


def _delta(piece: Piece) -> dict[str, Any] | None:
    """The `delta` of a piece; None: chat completions have no form for it."""
    match piece:
        case TextPiece(text=text):
            return {"content": text}
        case ThinkingPiece(text=text):
            return {"reasoning_content": text}
        case RefusalPiece(text=text):
            return {"refusal": text}
        case ToolStart(call=call, id=call_id, name=name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": call, "id": call_id, "type": "function", "function": function}]}
        case ToolArguments(call=call, text=text):
            return {"tool_calls": [{"index": call, "function": {"arguments": text}}]}
        case _:
            return None
