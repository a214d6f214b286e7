"""What a server demands of the messages of a history, read from its refusal. Pure.

DeepSeek, Kimi and MiMo demand the reasoning of each earlier answer, Gemini a signature for each earlier tool call. A
history that another model wrote, or that passed through another dialect, has neither. Many servers know no `developer`,
OpenAI's newer name of the role `system`. Strict servers refuse two labels: the `index` of a tool call, which clients
keep from a stream, and the `name` beside the result of a tool. Mistral demands an answer between the result of a tool
and the user's next message, and the field `prefix` on the beginning of an answer that the model continues.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from openfall.workers.backends.call_request import Request
from openfall.workers.backends.parsing import content_text

NO_REASONING = " "
"""Stands for a reasoning that is not known. DeepSeek V4 refuses an empty text."""

NO_SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Gemini documents for a call that has no signature of its own."""


BETWEEN: Mapping[str, Any] = {"role": "assistant", "content": "OK."}
"""The shortest answer: Mistral refuses an empty one."""


class HistoryDemand(StrEnum):
    """What each earlier answer must have, where an answer must stand, the role that gives the instructions, or a label
    that may not be there."""

    REASONING = "reasoning"
    SIGNATURE = "signature"
    SYSTEM_ROLE = "system_role"
    NO_INDEX = "no_index"
    NO_NAME = "no_name"
    ANSWER_BETWEEN = "answer_between"
    PREFIX = "prefix"


_FIELD = r"\b(?:property|field|argument|parameter|key|unknown name|supplied)\b\W{0,4}"
_REFUSED = re.compile(
    r"(?i)unsupported|not supported|unknown|unrecognized|unexpected|not (permitted|allowed)|additional"
)

_WORDS = {
    HistoryDemand.ANSWER_BETWEEN: re.compile(r"(?i)unexpected role .?user.? after role .?tool\b"),
    HistoryDemand.REASONING: re.compile(r"(?i)reasoning_content\b.{0,80}(passed back|\bmissing\b|\brequired\b)"),
    HistoryDemand.SIGNATURE: re.compile(r"(?i)\bmissing\b.{0,20}thought_?signature"),
    HistoryDemand.SYSTEM_ROLE: re.compile(
        r"(?is)(?=.*(\brole|[`'\"]developer\b))"  # a server may name its pages for developers
        r"(\bdeveloper\b.{0,60}\b(not|in)\b|\b(un\w+|in\w+|not)\b.{0,40}\bdeveloper\b)"
        r"|\brole\b.{0,20}input should be|\bunexpected (message )?role|\broles? .{0,40}\b(not|only)\b"
    ),
    HistoryDemand.NO_INDEX: re.compile(rf"(?i)\btool_calls\W{{0,3}}\d+\W{{1,4}}index\b|{_FIELD}index\b"),
    HistoryDemand.NO_NAME: re.compile(rf"(?i)\bmessages\W{{0,3}}\d+\W{{1,4}}(?:tool\W{{1,4}})?name\b|{_FIELD}name\b"),
    HistoryDemand.PREFIX: re.compile(r"(?i)\bassistant with prefix true\b"),
}


def demanded(detail: str, body: Mapping[str, Any]) -> HistoryDemand | None:
    """What a refusal of a body demands; None: nothing of a history."""
    demands = (demand for demand, words in _WORDS.items() if words.search(detail))
    return next((demand for demand in demands if _concerns(demand, detail, body)), None)


def _concerns(demand: HistoryDemand, detail: str, body: Mapping[str, Any]) -> bool:
    """Whether a body has what the words of a refusal may mean."""
    if demand in (HistoryDemand.REASONING, HistoryDemand.SIGNATURE):
        return True
    if demand in (HistoryDemand.NO_INDEX, HistoryDemand.NO_NAME) and not _REFUSED.search(detail):
        return False
    messages = body.get("messages")
    return isinstance(messages, list) and _CHANGES[demand](messages) != messages


def fulfil(demand: HistoryDemand, body: dict[str, Any], request: Request) -> dict[str, Any]:
    """A body of OpenAI's dialect whose messages have what is demanded. What they have already stays."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    if (change := _CHANGES.get(demand)) is not None:
        return {**body, "messages": change(messages)}
    places = [place for place, message in enumerate(messages) if _is_answer(message)]
    known = _reasonings(request)
    known = known if len(known) == len(places) else [NO_REASONING] * len(places)
    filled = {
        place: {**messages[place], "reasoning_content": messages[place].get("reasoning_content") or text}
        for place, text in zip(places, known, strict=True)
    }
    return {**body, "messages": [filled.get(place, message) for place, message in enumerate(messages)]}


def _of_system(message: Any) -> Any:
    is_newer = isinstance(message, Mapping) and message.get("role") == "developer"
    return {**message, "role": "system"} if is_newer else message


def _is_answer(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _reasonings(request: Request) -> list[str]:
    """The reasoning of each answer in the caller's own body, which a translation leaves out."""
    messages = request.body.get("messages")
    return [_reasoning(message) for message in messages if _is_answer(message)] if isinstance(messages, list) else []


def _reasoning(message: Mapping[str, Any]) -> str:
    content, blocks = message.get("content"), []
    if isinstance(content, list):
        blocks = [block.get("thinking") for block in content if isinstance(block, Mapping)]
    texts = [message.get("reasoning"), message.get("thinking"), *blocks]
    return "".join(content_text(text) for text in texts) or NO_REASONING


def _signed(message: Any) -> Any:
    def sign(call: Any) -> Any:
        is_unsigned = isinstance(call, Mapping) and not call.get("extra_content")
        return {**call, "extra_content": NO_SIGNATURE} if is_unsigned else call

    return _with_calls(message, sign)


def _without_index(message: Any) -> Any:
    return _with_calls(message, lambda call: _without(call, "index"))


def _without_name(message: Any) -> Any:
    is_result = isinstance(message, Mapping) and message.get("role") == "tool"
    return _without(message, "name") if is_result else message


def _without(value: Any, name: str) -> Any:
    return {key: field for key, field in value.items() if key != name} if isinstance(value, Mapping) else value


def _with_calls(message: Any, change: Callable[[Any], Any]) -> Any:
    """An answer whose tool calls are changed."""
    calls = message.get("tool_calls") if _is_answer(message) else None
    return {**message, "tool_calls": [change(call) for call in calls]} if isinstance(calls, list) else message


def _with_answers(messages: list[Any]) -> list[Any]:
    """The messages with an answer between the result of a tool and the next message of the user."""
    pairs = zip([None, *messages], messages, strict=False)
    return [each for last, next_ in pairs for each in ([BETWEEN, next_] if _is_unanswered(last, next_) else [next_])]


def _is_unanswered(last: Any, next_: Any) -> bool:
    return [each.get("role") for each in (last, next_) if isinstance(each, Mapping)] == ["tool", "user"]


def _with_prefix(messages: list[Any]) -> list[Any]:
    """The messages whose last one is marked as the beginning of the answer."""
    return [*messages[:-1], {**messages[-1], "prefix": True}] if messages and _is_answer(messages[-1]) else messages


def _each(change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda messages: [change(message) for message in messages]


_CHANGES: Mapping[HistoryDemand, Callable[[list[Any]], list[Any]]] = {
    HistoryDemand.SIGNATURE: _each(_signed),
    HistoryDemand.SYSTEM_ROLE: _each(_of_system),
    HistoryDemand.NO_INDEX: _each(_without_index),
    HistoryDemand.NO_NAME: _each(_without_name),
    HistoryDemand.ANSWER_BETWEEN: _with_answers,
    HistoryDemand.PREFIX: _with_prefix,
}
"""What a demand makes of the messages."""
