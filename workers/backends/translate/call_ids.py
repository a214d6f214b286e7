"""The ids of tool calls, unique over a conversation. Pure: the same conversation always gets the same ids.

Callers and servers repeat ids (`call_0` in every turn), or send none. Anthropic refuses a conversation with an id that
occurs twice, and with a result whose call it does not know. So a repeated id gets a suffix, a missing one a number, and
a result the id of its own call.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Set
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
    id: str


class _Waiting:
    """Calls without a result, in their order. The next one is the first of the last turn."""

    def __init__(self) -> None:
        self._turns: list[tuple[int, deque[_Call]]] = []

    def add(self, call: _Call) -> None:
        if not self._turns or self._turns[-1][0] != call.turn:
            self._turns.append((call.turn, deque()))
        self._turns[-1][1].append(call)

    def next(self, answered: Set[str]) -> _Call | None:
        """The next call; None: there is none. Those that are `answered` by now leave, each once."""
        while self._turns:
            calls = self._turns[-1][1]
            while calls and calls[0].id in answered:
                calls.popleft()
            if calls:
                return calls[0]
            self._turns.pop()
        return None


_Group = tuple[str, str]
_ANY: _Group = ("any", "")


@dataclass(slots=True)
class CallIds:
    """Gives each call of a conversation its id, in order, and each result the id of its call."""

    _used: set[str] = field(default_factory=set)
    _waiting: defaultdict[_Group, _Waiting] = field(default_factory=lambda: defaultdict(_Waiting))
    """The calls without a result, by id as it was given, by tool, and all of them. A history may have thousands."""
    _answered: set[str] = field(default_factory=set)
    _number: int = 0
    """That of the last id that was made."""
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
        unique, self._number = given, max(self._number, len(self._used))
        while not unique or unique in self._used:
            unique, self._number = f"{given[:_MAX_BASE_LENGTH] or 'call'}_{self._number}", self._number + 1
        self._used.add(unique)
        self._last[given] = unique
        for group in (("id", given), ("tool", name), _ANY):
            self._waiting[group].add(_Call(self._turn, unique))
        return unique

    def is_waiting(self, given: str) -> bool:
        """Whether a call without a result has the given id, or may be meant by none."""
        return self._next(("id", given) if given else _ANY) is not None

    def add_result(self, given: str, name: str = "") -> str:
        """The id of the call that a result belongs to: the first one of the last turn that has the given id and no
        result. A result without an id belongs to a call of the same tool, else to one without an id, else to any.
        """
        call = self._next(("id", given)) if given else None
        if not given:
            call = self._next(("tool", name)) if name else None
            call = call or self._next(("id", "")) or self._next(_ANY)
        if call is None:
            return self._last.get(given, given)
        self._answered.add(call.id)
        return call.id

    def _next(self, group: _Group) -> _Call | None:
        return self._waiting[group].next(self._answered) if group in self._waiting else None


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
