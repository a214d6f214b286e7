"""Parses an answer of OpenAI's Responses, whole or assembled from a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.request_body import answer_text, has_tool_call
from openfall.router_core.jobs.stream_pieces import Piece, TextPiece
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.exact_json import dumps, mend_text
from openfall.workers.backends.finish_reasons import read_finish_reason
from openfall.workers.backends.item_pieces import ItemPieces
from openfall.workers.backends.parsing import malformed, parse_document, with_usage
from openfall.workers.backends.stream_assembly import StreamAssembler
from openfall.workers.backends.streamed_items import StreamedItems
from openfall.workers.backends.translate import response_finish
from openfall.workers.backends.usage import read_response_usage, usage_piece

CUT_OFF = "the stream of the Response was cut off"
_ENDED = ("completed", "incomplete", None)


def parse_response(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 2xx's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(document)


def to_outcome(document: Any) -> Outcome:
    """The outcome of a Response that has ended, with what it used."""
    outcome = _outcome(document)
    return with_usage(outcome, read_response_usage(document)) if isinstance(document, dict) else outcome


def _outcome(document: Any) -> Outcome:
    """A Response that still runs is no answer: the caller would read half of it."""
    output = document.get("output") if isinstance(document, dict) else None
    if not isinstance(output, list):
        return malformed("the answer has no output")
    document = {**document, "output": [_with_parts(item) for item in output]}
    if document.get("error") or document.get("status") == "failed":
        return _failure(document.get("error"))
    if document.get("status") not in _ENDED:
        return malformed("the Response has not ended")
    finish = response_finish(document)
    if document.get("status") == "incomplete":
        known = read_finish_reason(finish)
        if isinstance(known, Failure):
            return known
    if _refusal(document["output"]) and not has_tool_call(document):
        refusal = Completion(text=answer_text(document), finish_reason=finish, body=document)
        return Failure(error_class=ErrorClass.CONTENT_FILTER, detail="the model refused to answer", refusal=refusal)
    return Completion(text=answer_text(document), finish_reason=finish, body=document)


def _with_parts(item: Any) -> Any:
    """An item whose texts are lists of parts, each with its type. Some servers send the text itself, or leave the type
    out."""
    if not isinstance(item, dict):
        return item
    own = "reasoning_text" if item.get("type") == "reasoning" else "output_text"
    texts = {"content": own, "summary": "summary_text"}
    return item | {name: _parts(item[name], kind) for name, kind in texts.items() if name in item}


def _parts(texts: Any, kind: str) -> Any:
    parts = [{"text": texts}] if isinstance(texts, str) else texts
    if not isinstance(parts, list):
        return parts
    more: dict[str, Any] = {"annotations": []} if kind == "output_text" else {}
    return [{**more, **part, "type": kind} if _lacks_type(part) else part for part in parts]


def _lacks_type(part: Any) -> bool:
    """Whether a part is a text without the type that Responses have. `text` is that of other APIs."""
    return isinstance(part, dict) and "text" in part and part.get("type") in (None, "text")


def _refusal(output: list[Any]) -> bool:
    """Whether the model refuses, and writes no text."""
    contents = [item.get("content") for item in output if isinstance(item, Mapping) and item.get("type") == "message"]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, Mapping)]
    has_text = any(part.get("type") == "output_text" and part.get("text") for part in parts)
    return not has_text and any(part.get("type") == "refusal" and part.get("refusal") for part in parts)


def _failure(error: Any) -> Failure:
    body = {"error": error if isinstance(error, Mapping) else "the answer ended in an error"}
    return classify(200, {}, dumps(body))


class ResponseAssembler(StreamAssembler):
    """Assembles events into a Response: the one of its last event, or of the items before it where that has none."""

    def __init__(self) -> None:
        super().__init__()
        self._response: dict[str, Any] = {}
        self._items = StreamedItems()
        self._pieces = ItemPieces()
        self._texts: list[str] = []

    def add(self, event: bytes) -> list[Piece]:
        return [] if event.strip() == b"[DONE]" else super().add(event)  # of a proxy that also speaks chat completions

    def _add(self, fields: dict[str, Any]) -> list[Piece]:
        match fields:
            case {"type": "error", **error}:
                self.failure = _failure(error)
            case {
                "type": "response.completed" | "response.incomplete" | "response.failed" | "response.done",
                "response": dict(response),
            }:
                self._response, self.done = response, True
                self.usage = read_response_usage(response)
                return [usage_piece(self.usage)] if response.get("usage") else []
            case {"type": str()}:
                fields = self._items.numbered(fields)
                self._items.add(fields)
                pieces = self._pieces.add(fields)
                self._texts += [piece.text for piece in pieces if isinstance(piece, TextPiece)]
                self.characters += self._pieces.take_characters()
                return pieces
        return []

    def _assemble(self) -> Outcome:
        if not self.done:
            return malformed(CUT_OFF)
        whole = self._response
        if not whole.get("output"):
            whole = {**whole, "output": self._items.output()}
        outcome = to_outcome(self._mended(whole))
        if (
            isinstance(outcome, Completion)
            and self._texts
            and not outcome.text.startswith(mend_text("".join(self._texts)))
        ):
            return malformed("the events of the stream are not those of its Response")
        return outcome
