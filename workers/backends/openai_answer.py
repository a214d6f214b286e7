"""Parses an OpenAI answer, whole or assembled from a stream, into an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.stream_pieces import Piece, RawEvent
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.completion_deltas import (
    count_characters,
    merge_delta,
    merge_logprobs,
    says_more,
    text_pieces,
)
from openfall.workers.backends.completion_shapes import (
    BESIDE,
    calls_of,
    choices_of,
    formed_message,
    is_no_piece,
    is_refused,
    rest_of_message,
    unwrapped,
    with_fields_beside,
)
from openfall.workers.backends.error_body import find_error
from openfall.workers.backends.error_response import classify, has_words, words_in_place_of
from openfall.workers.backends.exact_json import dumps, whole_number
from openfall.workers.backends.finish_reasons import (
    CUT_OFF,
    failure_of_native,
    is_known_reason,
    is_reason,
    read_finish_reason,
)
from openfall.workers.backends.google_answer import with_choices
from openfall.workers.backends.parsing import (
    content_text,
    malformed,
    parse_document,
    with_usage,
)
from openfall.workers.backends.stream_assembly import StreamAssembler
from openfall.workers.backends.tool_call_pieces import ToolCallPieces
from openfall.workers.backends.unusable_answer import EMPTY
from openfall.workers.backends.usage import completion_usage, merge_usage, read_completion_usage, usage_piece

_DONE = b"[DONE]"
MAX_CHOICES = 1000
"""A number above this is no number of a choice."""
_CALLED = ("tool_calls", "function_call")
_OF_AN_ANSWER = ("content", "refusal", "function_call", "reasoning_content", "reasoning", "audio")
_MERGED = frozenset({"index", "message", "delta", "text", "logprobs", "usage", *BESIDE})


def parse_completion(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 2xx's body. An error inside it is a failure."""
    document = parse_document(body, headers)
    return document if isinstance(document, Failure) else to_outcome(unwrapped(document))


def to_outcome(document: Any, *, ended: bool = True) -> Outcome:
    """The outcome of a `chat.completion`. It is complete with a finish reason, or if its end is certain (`ended`): a
    whole document, a stream with its last event."""
    outcome = _read_outcome(document, ended=ended)
    is_counted = isinstance(document, dict) and (ended or isinstance(outcome, Completion))
    return with_usage(outcome, read_completion_usage(document)) if is_counted else outcome


def _read_outcome(document: Any, *, ended: bool) -> Outcome:
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = _message(choice) if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return _without_message(document, choice, ended=ended)
    if error := find_error(choice) or choice.get("finish_reason") == "error":
        body = {"error": error if isinstance(error, dict) else "the answer ended in an error"}
        return classify(200, {}, dumps(body))
    finish = _finish_reason(choice, message, ended=ended)
    if isinstance(finish, Failure):
        return finish
    text, calls = content_text(message.get("content")), message.get("tool_calls") or message.get("function_call")
    if (message.get("refusal") or is_refused(message.get("content"))) and not text and not calls:
        return _refused(document, choice, message, finish)
    if finish in _CALLED and not text and not calls:
        return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail="the answer ended in a tool call, and has none")
    choice |= {"message": message, "finish_reason": finish}
    _number(choices)
    return Completion(text=text, finish_reason=finish, body=document)


def _without_message(document: Any, choice: Any, *, ended: bool) -> Failure:
    """The failure of a document without a message. Gemini leaves it out where it has written nothing, or sends an empty
    list of choices with a usage."""
    written = read_completion_usage(document).output_tokens if isinstance(document, dict) else None
    if isinstance(choice, dict) and choice.get("finish_reason") and written == 0:
        return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=EMPTY)
    if ended and isinstance(document, dict) and document.get("choices") == [] and document.get("usage") and not written:
        return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=EMPTY)
    return words_in_place_of(document, "the answer has no choices")


def _refused(document: dict[str, Any], choice: dict[str, Any], message: dict[str, Any], finish: str) -> Failure:
    choice |= {"message": message, "finish_reason": finish}
    _number(document["choices"])
    refusal = Completion(text=answer_text(document), finish_reason=finish, body=document)
    return Failure(error_class=ErrorClass.CONTENT_FILTER, detail="the model refused to answer", refusal=refusal)


def _number(choices: Any) -> None:
    """Number the choices by their places, unless each has its own number: some servers number none, or all alike."""
    numbers = [choice.get("index") for choice in choices if isinstance(choice, dict)]
    valid = {number for number in numbers if isinstance(number, int) and not isinstance(number, bool)}
    if len(valid) == len(numbers) and all(0 <= number < MAX_CHOICES for number in valid):
        return
    for place, choice in enumerate(choices):
        if isinstance(choice, dict):
            choice["index"] = place


def _message(choice: dict[str, Any]) -> Any:
    """The message of a choice, under the names that servers use, in its form."""
    message = choice.get("message") or choice.get("delta") or choice.get("messages")
    message = message[-1] if isinstance(message, list) and message else message
    if message is None and choice.get("content"):
        message = {"content": choice["content"]}
    if message is None and "text" not in choice and choice.get("finish_reason") not in (None, "stop"):
        return {"role": "assistant", "content": None}  # Gemini, once thinking has used up the limit
    if message is None and isinstance(choice.get("text"), str):
        return {"role": "assistant", "content": choice["text"]}
    return formed_message(with_fields_beside(choice, message) if isinstance(message, dict) else message)


def _finish_reason(choice: dict[str, Any], message: dict[str, Any], *, ended: bool) -> str | Failure:
    """The finish reason in OpenAI's words. Some servers name none: then an answer that has content ends in its end.
    Some say `stop` behind the calls of tools, at which the loop of an agent ends."""
    calls = message.get("tool_calls")
    if is_reason(reason := choice.get("finish_reason")):
        known = read_finish_reason(reason)
        if known == "stop" and (failure := failure_of_native(choice.get("native_finish_reason"))):
            return failure
        return "tool_calls" if known == "stop" and calls else known
    has_content = any(message.get(key) for key in _OF_AN_ANSWER)
    if not ended or not (calls or has_content):
        return malformed(CUT_OFF)
    return "tool_calls" if calls else "stop"


class CompletionAssembler(StreamAssembler):
    """Assembles chunks into a `chat.completion`."""

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._calls: dict[int, ToolCallPieces] = {}
        self._words_behind: dict[str, Any] | None = None
        """The event behind the last piece of the answer that is no piece, and has words. If no finish reason has
        arrived, it says why: some gateways write an error in a form of their own, and `[DONE]` behind it."""

    @property
    def finished_choices(self) -> int:
        return sum(is_reason(choice["finish_reason"]) for choice in self._choices.values())

    def add(self, event: bytes) -> list[Piece]:
        if event.strip(b' "\r\n').upper() == _DONE:
            self.done = True
            return [self._without_halves(piece) for calls in self._calls.values() for piece in calls.end()]
        return super().add(event)

    def _add(self, fields: dict[str, Any]) -> list[Piece]:
        fields = fields if fields.get("choices") else with_choices(fields)
        reported = completion_usage(fields)
        usage = merge_usage(self._head.get("usage"), reported)
        self._head |= {key: value for key, value in fields.items() if key != "choices" and value is not None}
        self._head |= {"usage": usage} if usage is not None else {}
        choices = choices_of(fields.get("choices"))
        added = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        if added:
            self._words_behind = None
        elif reported is None and has_words(fields):
            self._words_behind = fields
        pieces = [piece for choice in added for piece in self._add_choice(choice)]
        if reported is not None and (not added or any(choice.get("finish_reason") for choice in added)):
            self.usage = read_completion_usage(self._head)
            pieces.append(usage_piece(self.usage))
        return pieces

    def _assemble(self) -> Outcome:
        if self._words_behind is not None and not self.finished_choices:
            return words_in_place_of(self._words_behind, CUT_OFF)
        choices = [self._choices[index] for index in sorted(self._choices)]
        document = {**self._head, "object": "chat.completion", "choices": choices}
        return to_outcome(self._mended(document), ended=self.done)

    def _add_choice(self, piece: dict[str, Any]) -> list[Piece]:
        index = whole_number(piece.get("index"))
        if index is None or index >= MAX_CHOICES:
            index = 0
        empty = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        choice = self._choices.setdefault(index, empty)
        is_known = is_known_reason(choice["finish_reason"]) and piece.get("finish_reason") == "stop"
        kept = _MERGED | {"finish_reason"} if is_known else _MERGED
        choice |= {key: value for key, value in piece.items() if key not in kept and value is not None}
        merge_logprobs(choice, piece.get("logprobs"))
        delta = piece.get("delta")
        if not isinstance(delta, dict):
            text, message = delta or piece.get("text"), piece.get("message")  # some servers send the text alone
            delta = {"content": text} if isinstance(text, str) else rest_of_message(choice["message"], message)
        delta = with_fields_beside(piece, delta)
        delta = {**delta, "content": None} if is_no_piece(delta.get("content")) else delta
        self.characters += count_characters(delta)
        calls = self._calls.setdefault(index, ToolCallPieces(index))
        pieces = [*text_pieces(index, delta), *calls.add(calls_of(delta.get("tool_calls")))]
        if piece.get("finish_reason"):
            pieces += calls.end()
        merge_delta(choice["message"], delta, calls)
        if piece.get("logprobs") or says_more(delta):
            return [RawEvent({"choices": [piece | {"index": index}]}, len(pieces)), *pieces]
        return pieces
