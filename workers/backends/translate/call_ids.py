"""The ids of tool calls, unique over a conversation. Pure: the same conversation always gets the same ids.

Callers and servers repeat ids (`call_0` in every turn), or send none. Anthropic refuses a conversation with an id that
occurs twice, and with a result whose call it does not know. So a repeated id gets a suffix, a missing one a number, and
a result the id of its own call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.translate.json_values import Body, objects, text_field

MAX_CHOICES = 128
"""The most choices of an answer at OpenAI. The calls of further ones keep their ids."""

_MAX_BASE_LENGTH = 32
"""Characters of a repeated id that its successor keeps: OpenAI allows 40."""


@dataclass(frozen=True, slots=True)
class _Call:
    turn: int
    given: str
    id: str
    name: str


@dataclass(slots=True)
class CallIds:
    """Gives each call of a conversation its id, in order, and each result the id of its call."""

    _used: set[str] = field(default_factory=set)
    _waiting: list[_Call] = field(default_factory=list)
    """The calls without a result."""
    _last: dict[str, str] = field(default_factory=dict)
    """By id as it was given, that of the last such call."""
    _turn: int = 0

    @classmethod
    def after(cls, request: Body) -> CallIds:
        """For the calls of an answer: their ids do not occur in its request, of any dialect."""
        own = (item.get("call_id") for item in objects(request.get("input")))  # of Responses
        return cls({*_ids_in(request.get("messages")), *(call_id for call_id in own if isinstance(call_id, str))})

    def begin_turn(self) -> None:
        """Another message of the assistant begins."""
        self._turn += 1

    def add_call(self, given: str, name: str = "") -> str:
        """The id of a call: the given one, unless it is empty or occurred before."""
        unique, number = given, len(self._used)
        while not unique or unique in self._used:
            unique, number = f"{given[:_MAX_BASE_LENGTH] or 'call'}_{number}", number + 1
        self._used.add(unique)
        self._last[given] = unique
        self._waiting.append(_Call(self._turn, given, unique, name))
        return unique

    def is_waiting(self, given: str) -> bool:
        """Whether a call without a result has the given id, or may be meant by none."""
        return bool(self._waiting) if not given else any(call.given == given for call in self._waiting)

    def add_result(self, given: str, name: str = "") -> str:
        """The id of the call that a result belongs to: the first one of the last turn that has the given id and no
        result. A result without an id belongs to a call of the same tool, else to one without an id, else to any.
        """
        calls = [call for call in self._waiting if call.given == given]
        if not given:
            calls = [call for call in self._waiting if name and call.name == name] or calls or self._waiting
        if not calls:
            return self._last.get(given, given)
        last_turn = max(call.turn for call in calls)
        call = next(call for call in calls if call.turn == last_turn)
        self._waiting.remove(call)
        return call.id


def with_unique_calls(body: Body, request: Body, dialect: Dialect) -> Body:
    """An answer in the dialect of its request, whose tool calls all have ids, and none of an earlier call. An answer
    whose ids are so stays as it is."""
    if dialect == "openai":
        given = body.get("choices")
        choices = given if isinstance(given, list) else []
        if not any(map(_has_calls, choices[:MAX_CHOICES])):
            return body
        changed = [
            {**choice, "message": _with_ids(choice["message"], "tool_calls", request)} if _has_calls(choice) else choice
            for choice in choices[:MAX_CHOICES]
        ]
        return {**body, "choices": [*changed, *choices[MAX_CHOICES:]]}
    return _with_ids(body, "content", request) if dialect == "anthropic" else body


def _has_calls(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    return isinstance(message, Mapping) and bool(message.get("tool_calls"))


def _with_ids(message: Body, field: str, request: Body) -> Body:
    """A message with unique ids in the calls of that field."""
    given = message.get(field)
    if not isinstance(given, list):
        return message
    ids = CallIds.after(request)
    calls = [{**call, "id": ids.add_call(text_field(call, "id"))} if _is_call(call) else call for call in given]
    return {**message, field: calls}


def _is_call(value: Any) -> bool:
    """Whether a value is a tool call of OpenAI's or of Anthropic's."""
    return isinstance(value, Mapping) and ("function" in value or "custom" in value or value.get("type") == "tool_use")


def _ids_in(messages: Any) -> Iterator[str]:
    """The ids of the tool calls in messages of any dialect."""
    for message in objects(messages):
        for call in (*objects(message.get("tool_calls")), *objects(message.get("content"))):
            if isinstance(call_id := call.get("id"), str):
                yield call_id
