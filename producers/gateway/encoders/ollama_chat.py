"""The bodies and lines of Ollama's chat and generate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.gateway.encoders.sent_pieces import SentPieces
from openfall.producers.gateway.encoders.sse import one_line
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import Piece, TextPiece, ThinkingPiece
from openfall.router_core.jobs.unchecked_json import as_object
from openfall.router_core.vocabulary import MODEL_WAITS

NDJSON = "application/x-ndjson"


def line(body: Mapping[str, Any]) -> bytes:
    """One line of a stream."""
    return one_line(body) + b"\n"


@dataclass(slots=True)
class OllamaAnswer:
    """One answer, whole or in lines. `generates`: in the form of `/api/generate`. `created_at`: RFC 3339.

    Tool calls come in one line, as Ollama sends them.
    """

    asked_for: str
    created_at: str
    generates: bool = False
    sent: SentPieces = field(default_factory=SentPieces)

    media_type = NDJSON
    carries_failures = False

    def whole(self, result: Result, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The answer without a stream."""
        message = dict((result.body or {}).get("message") or {"role": "assistant", "content": ""})
        return {**self._head(message), **self._last(result, receipt)}

    def pieces(self, pieces: Iterable[Piece]) -> bytes:
        """The lines for the next pieces of the first choice. Calls of tools wait for the end: they are sent whole."""
        texts = (piece for piece in pieces if isinstance(piece, TextPiece | ThinkingPiece))
        pieces = [piece for piece in texts if piece.choice == 0]
        self.sent.add(pieces)
        return b"".join(map(self._piece, pieces))

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes:
        """What is left of the answer, its calls of tools, and the last line."""
        body = result.body or {}
        rest = self.pieces(self.sent.rest(pieces_of_answer(body, "ollama")))
        calls = as_object(body.get("message")).get("tool_calls")
        if calls and not self.generates:
            rest += line(self._line({"content": "", "tool_calls": calls}))
        last = {**self._line({"content": ""}), **self._last(result, receipt)}
        return rest + line(last)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An error after the head: the SDKs raise it with its text."""
        return line(error)

    def waiting(self, position: int | None) -> bytes:
        """A line without a text, which keeps the connection open."""
        return line(self._line({"content": ""}))

    def progress(self, event: Mapping[str, Any]) -> bytes:
        """A model is being loaded: a line without a text that names it."""
        if event["event"] not in MODEL_WAITS:
            return b""
        shown = {key: value for key, value in event.items() if key not in ("cursor", "at")}
        return line({**self._line({"content": ""}), "openfall": shown})

    def restart(self) -> None:
        """A client has no word for a text that is void."""

    def _piece(self, piece: Piece) -> bytes:
        if isinstance(piece, ThinkingPiece):
            return line(self._line({"content": "", "thinking": piece.text}))
        return line(self._line({"content": getattr(piece, "text", "")}))

    def _line(self, message: dict[str, Any]) -> dict[str, Any]:
        return {**self._head({"role": "assistant", **message}), "done": False}

    def _head(self, message: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"model": self.asked_for, "created_at": self.created_at}
        if not self.generates:
            return {**head, "message": message}
        thinking = {"thinking": message["thinking"]} if message.get("thinking") else {}
        return {**head, "response": message.get("content") or "", **thinking}

    def _last(self, result: Result, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The end of an answer, with the state of a generate that a caller sends back, and the receipt with the fields
        that the translated request left out."""
        body = result.body or {}
        state = {"context": body["context"]} if self.generates and body.get("context") else {}
        return {**_counts(result), **state, "openfall": {**receipt, **(body.get("openfall") or {})}}


def _counts(result: Result) -> dict[str, Any]:
    """The end of an answer: its reason, and the durations in nanoseconds, from which clients compute a speed."""
    body, total = result.body or {}, round(result.took * 1e9)
    known = {
        "done": True,
        "done_reason": body.get("done_reason") or "stop",
        "total_duration": total,
        "load_duration": body.get("load_duration") or 0,
        "prompt_eval_count": result.input_tokens or 0,
        "prompt_eval_duration": body.get("prompt_eval_duration") or 0,
        "eval_count": result.output_tokens or 0,
        "eval_duration": body.get("eval_duration") or max(1, total - round(result.waited * 1e9)),
    }
    return {**known, **({"logprobs": body["logprobs"]} if body.get("logprobs") else {})}
