"""Differences to the SDKs that are meant. Each has one reason, and is as narrow as its reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.workers.backends.error_body import find_error
from openfall.workers.backends.exact_json import loads, mend_text, whole_number
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.openai_answer import MAX_CHOICES


def reason_of(body: bytes, theirs: Any, mine: Any, outcome: Outcome) -> str | None:
    """The reason of a difference; None: it is a fault."""
    documents = list(_documents(body))
    for reason, applies in _OF_FAILURES.items() if isinstance(outcome, Failure) else _OF_ANSWERS.items():
        if applies(documents, theirs, mine):
            return reason
    return None


def _documents(body: bytes) -> Iterator[Any]:
    """The values in an answer: one document, or the events of a stream."""
    framing = SseFraming()
    for event in [body] if body[:1] == b"{" else [*framing.feed(body), *framing.end()]:
        try:
            yield loads(event, halves=True)
        except ValueError:
            continue


def _has_error(documents: list[Any], theirs: Any, mine: Any) -> bool:
    choices = [value["choices"] for value in _objects(documents) if isinstance(value.get("choices"), list)]
    firsts = [choice[0] for choice in choices if choice and isinstance(choice[0], dict)]
    return any(map(find_error, [*documents, *firsts])) or any(first.get("finish_reason") == "error" for first in firsts)


def _has_half_input(documents: list[Any], theirs: Any, mine: Any) -> bool:
    return any(not _is_object(raw) for raw in theirs.raw_inputs)


def _ends_before_its_end(documents: list[Any], theirs: Any, mine: Any) -> bool:
    types = [value.get("type") for value in _objects(documents)]
    rest = types[types.index("message_stop") :] if "message_stop" in types else []
    return any(kind in ("message_start", "message_delta") or str(kind).startswith("content_block") for kind in rest)


def _repeats_a_name(documents: list[Any], theirs: Any, mine: Any) -> bool:
    names = [[name for name, _ in reading.calls] for reading in (theirs, mine)]
    return theirs.text == mine.text and names[0] != names[1] and set(map(_once, names[0])) <= set(names[1])


def _has_half_character(documents: list[Any], theirs: Any, mine: Any) -> bool:
    calls = [tuple(map(mend_text, call)) for call in theirs.calls]
    is_same = theirs.text == mine.text and list(theirs.calls) == list(mine.calls)
    return mend_text(theirs.text) == mine.text and calls == [tuple(call) for call in mine.calls] and not is_same


def _has_other_indexes(documents: list[Any], theirs: Any, mine: Any) -> bool:
    """A block of Anthropic's begins under an index that is not its place, or grows under one that none can have."""
    events = _objects(documents)
    started = [value.get("index") for value in events if value.get("type") == "content_block_start"]
    grown = [value.get("index") for value in events if value.get("type") == "content_block_delta"]
    return [*map(repr, started)] != [*map(repr, range(len(started)))] or any(map(_is_malformed, grown))


def _begins_late(documents: list[Any], theirs: Any, mine: Any) -> bool:
    types = [value.get("type") for value in _objects(documents)]
    return "message_start" in types and "content_block_delta" in types[: types.index("message_start")]


def _has_untyped_block(documents: list[Any], theirs: Any, mine: Any) -> bool:
    values = _objects(documents)
    contents = [value["content"] for value in values if isinstance(value.get("content"), list)]
    blocks = [value.get("content_block") for value in values] + [block for content in contents for block in content]
    has_one = any(isinstance(block, str) or _is_untyped(block) for block in blocks)
    return has_one and theirs.calls == mine.calls


def _is_untyped(block: Any) -> bool:
    """Whether a block has no type, or one of a text of OpenAI's."""
    return isinstance(block, dict) and (not isinstance(block.get("type"), str) or block["type"].endswith("put_text"))


def _has_text_in_another_block(documents: list[Any], theirs: Any, mine: Any) -> bool:
    blocks = {value["index"]: value["content_block"].get("type") for value in _objects(documents)
              if isinstance(value.get("content_block"), dict) and isinstance(value.get("index"), int)}  # fmt: skip
    return theirs.calls == mine.calls and any(
        value["delta"].get("type") == "text_delta" and blocks.get(value["index"]) != "text"
        for value in _objects(documents)
        if isinstance(value.get("delta"), dict) and isinstance(value.get("index"), int)
    )


def _has_untyped_delta(documents: list[Any], theirs: Any, mine: Any) -> bool:
    deltas = [value["delta"] for value in _objects(documents) if isinstance(value.get("delta"), dict)]
    return any(delta.get("type") is None and not delta.keys().isdisjoint(("text", "partial_json")) for delta in deltas)


def _has_half_an_untyped_input(documents: list[Any], theirs: Any, mine: Any) -> bool:
    """Deltas of a tool's input, one without a type among them, are no object once they are joined."""
    inputs: dict[str, list[dict[str, Any]]] = {}
    for value in (event for event in _objects(documents) if event.get("type") == "content_block_delta"):
        if isinstance(delta := value.get("delta"), dict) and isinstance(delta.get("partial_json"), str):
            inputs.setdefault(repr(value.get("index")), []).append(delta)
    return any(
        any(delta.get("type") is None for delta in deltas)
        and not _is_object("".join(delta["partial_json"] for delta in deltas))
        for deltas in inputs.values()
    )


def _has_text_under_another_name(documents: list[Any], theirs: Any, mine: Any) -> bool:
    lists = [value["choices"] for value in _objects(documents) if isinstance(value.get("choices"), list)]
    messages = [choice.get(name) for some in lists for choice in _objects(some) for name in ("message", "delta")]
    return theirs.calls == mine.calls and any(
        isinstance(message.get("text"), str) or isinstance(message.get("parts"), list) for message in _objects(messages)
    )


def _has_malformed_number(documents: list[Any], theirs: Any, mine: Any) -> bool:
    lists = [value["choices"] for value in _objects(documents) if isinstance(value.get("choices"), list)]
    several = [choice for choices in lists for choice in _objects(choices)]
    calls = [choice["delta"].get("tool_calls") for choice in several if isinstance(choice.get("delta"), dict)]
    of_calls = [call for some in calls if isinstance(some, list) for call in _objects(some)]
    numbers = [*(choice.get("index", 0) for choice in several), *(call.get("index") for call in of_calls)]
    return any(map(_is_malformed, numbers))


def _has_no_input(documents: list[Any], theirs: Any, mine: Any) -> bool:
    none = ("null", "[]", "false", "0", "0.0")
    calls = [(name, "{}" if arguments in none else arguments) for name, arguments in theirs.calls]
    return theirs.text == mine.text and theirs.calls != mine.calls and calls == [tuple(call) for call in mine.calls]


def _is_malformed(number: Any) -> bool:
    read = whole_number(number)
    return read is None or read >= MAX_CHOICES


_OF_FAILURES: dict[str, Callable[[list[Any], Any, Any], bool]] = {
    "an error beside an answer is an error": _has_error,
    "the SDK completes half an input of a tool by a guess": _has_half_input,
    "a message ends with its `message_stop`": _ends_before_its_end,
    "the SDK finds a block by its place, whatever index it began with": _has_other_indexes,
    "the SDK leaves out a delta without a type, and so half an input of a tool": _has_half_an_untyped_input,
}
_OF_ANSWERS: dict[str, Callable[[list[Any], Any, Any], bool]] = {
    "a message ends with its `message_stop`": _ends_before_its_end,
    "the SDK joins a name that a server repeats, to one that no tool has": _repeats_a_name,
    "the SDK finds a block by its place, whatever index it began with": _has_other_indexes,
    "the SDK passes on an input of a tool that stands for none, such as null or an empty list": _has_no_input,
    "the SDK leaves out the text of a block without a type": _has_untyped_block,
    "the SDK leaves out a text in a block of another kind": _has_text_in_another_block,
    "the SDK leaves out a delta without a type": _has_untyped_delta,
    "the SDK leaves out a text that is not under `content`": _has_text_under_another_name,
    "a choice with a malformed number is the first, and a call with none is the last": _has_malformed_number,
    "the SDK leaves out what stands before the beginning of a message": _begins_late,
    "half a character cannot be written": _has_half_character,
}


def _objects(documents: list[Any]) -> list[dict[str, Any]]:
    return [value for value in documents if isinstance(value, dict)]


def _is_object(raw: str) -> bool:
    try:
        return isinstance(json.loads(raw or "{}", strict=False), dict)
    except ValueError:
        return False


def _once(name: str) -> str:
    """A name without its repetitions."""
    for length in range(1, len(name) // 2 + 1):
        if name[:length] * (len(name) // length) == name:
            return name[:length]
    return name
