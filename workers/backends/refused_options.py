"""Options that a server refused, learned from its refusals, so that one call is repeated and no further one is refused.

Only what openfall adds or translates is left out, and only what tunes an answer. A caller's own parameter, in the
dialect of the backend, is sent as it is: if this model refuses it, the next model of the chain may accept it. Only its
limit gets the other name that a refusal asks for, and its `stream_options` and `service_tier` are left out: they say
how an answer arrives. The ids of tool calls and the role `developer` are mere labels, so they take the form that a
server demands. Earlier answers get the reasoning, or the signatures, that it demands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openfall.router_core.catalog.capabilities import Thinking
from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.answer_limit import is_limit_too_large, leaves_no_room, stated_limit
from openfall.workers.backends.call_id_forms import ANY_FORM, CallIdForm, form_demanded
from openfall.workers.backends.call_request import FIELDS_OF_ANSWERS, Request
from openfall.workers.backends.history_demands import HistoryDemand, demanded, fulfil
from openfall.workers.backends.thinking import fit_thinking

_REFUSALS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED})

_TUNING = (
    "thinking", "output_config", "reasoning_effort", "think", "metadata", "user", "parallel_tool_calls", "truncate",
    "keep_alive", "max_tokens", "max_completion_tokens", "verbosity", "temperature", "top_p", "top_k",
    "stream_options", "service_tier",
)  # fmt: skip
"""Options that openfall adds or translates, and without which the answer is one to the same request."""

_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""A limit under the name that a server of OpenAI's protocol does not know has the other name there."""

_BY_ITS_NAME = " by its other name"
"""Marks a limit that is renamed for every request, also a caller's own."""

_THINKING = ("thinking", "think", "reasoning_effort")
_NO_THINKING = re.compile(
    r"(?i)\b(thinking|reasoning)( (effort|level|budget|mode))?\b.{0,40} not (supported|enabled|available)"
    r"|support (thinking|reasoning)\b|reasoningEffort"
)
"""How a refusal names thinking, under whatever name it was asked for."""

_NO_TIER = re.compile(r"(?i)\bservice[ -]tier\b|\b(flex|priority)\b.{0,40}\bnot (supported|enabled|available)\b")
"""How a refusal names the service tier, beside its parameter's name."""

_OF_DELIVERY = ("stream_options", "service_tier")
"""Options that are left out also where they are the caller's own: they change how an answer arrives, not what it is."""

_STREAM_ONLY = re.compile(
    r"(?i)only supports? (the )?stream|non-stream|\bstream(ing)?\b.{0,12} (must|has to|needs? to) be|must have stream"
    r"|streaming is (required|mandatory)|stream ?= ?true|not (be )?support\w* when `?stream ?= ?false|非流式"
)
"""How a refusal demands a stream."""

_EXPECTED = re.compile(
    r"(?i)(?<!\bnot )(?<!\bnot a )(?<!\bnot an )\b(expected|allowed|supported|valid|permitted|known|available)"
    r" (one of\b|(parameter|field|argument|key)s?\b)"
)
"""Behind these words a refusal lists what its server knows."""

_NOT_BOTH = re.compile(r"(?i)temperature\b.{0,40}\btop_p\b.{0,40}\bboth\b|\bboth\b.{0,40}temperature\b.{0,40}\btop_p\b")
"""A refusal of the two together. One of them stays."""

_STRICT = re.compile(r"(?<!\w)strict(?!\w)")
"""How a refusal names the demand that a translated tool gets arguments of its schema only."""

_EFFORT = re.compile(r"(?i)\bsupport (the )?effort\b")
"""How a refusal names the effort of thinking, under whatever name it was asked for."""

_UNKNOWN = re.compile(r"(?i)unsupported|not supported|unknown|unrecognized|not permitted|forbidden|instead")
"""The refusal of a name, and not of a value."""


def demands_stream(outcome: Outcome) -> bool:
    """Whether a refusal says that the model answers in a stream only."""
    if not isinstance(outcome, Failure) or outcome.error_class not in _REFUSALS:
        return False
    return _STREAM_ONLY.search(outcome.detail) is not None


class RefusedOptions:
    """What the models of one endpoint refuse, by the provider's names of the models."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._refused: dict[str, set[str]] = {}
        self._adaptive: set[str] = set()
        self._too_large: dict[str, int] = {}
        """By model, the smallest limit of an answer that was refused as too large."""
        self._limits: dict[str, int | None] = {}
        """By model, the limit that its refusal stated."""
        self._id_forms: dict[str, CallIdForm] = {}
        self._demands: dict[str, set[HistoryDemand]] = {}

    def learn(self, body: Mapping[str, Any], request: Request, failure: Failure) -> bool:
        """Whether a refusal names an option that can be left out, or written otherwise, and was not yet."""
        upstream, detail = request.upstream, failure.detail
        if failure.http_status is not None and (form := form_demanded(detail)) != ANY_FORM:
            is_new, self._id_forms[upstream] = self._id_forms.get(upstream) != form, form
            return is_new
        if failure.error_class not in _REFUSALS and not self._leaves_no_room(failure):
            return False
        if self._dialect == "openai" and (demand := demanded(detail, body)):
            demands = self._demands.setdefault(upstream, set())
            is_new = demand not in demands
            demands.add(demand)
            return is_new
        renamed = self._renamed(detail, body, upstream)
        is_too_large = is_limit_too_large(detail) or self._leaves_no_room(failure)
        if not renamed and is_too_large and (limits := self._limits_of(body, request)):
            return self._learn_limit(body, request, limits, detail)
        refused = self._refused.setdefault(upstream, set())
        named = renamed | self._refused_in(body, request, detail)
        if "thinking" in named and "adaptive" in detail and not self._is_adaptive(body, upstream):
            self._adaptive.add(upstream)
            return True
        if named <= refused:
            return False
        refused |= named
        return True

    def _leaves_no_room(self, failure: Failure) -> bool:
        """Whether a prompt is refused as too long only because the limit of the answer counts into its length."""
        return failure.error_class is ErrorClass.CONTEXT_OVERFLOW and leaves_no_room(failure.detail)

    def _refused_in(self, body: Mapping[str, Any], request: Request, detail: str) -> set[str]:
        """The options of a body that a refusal names. A limit counts only if its name is refused, and not its value."""
        named = {name for name in _named(detail) if self._is_ours(name, body, request) or _in_answers(name, body)}
        if request.dialect != self._dialect and _STRICT.search(detail) and any(map(_demands_schema, _tools_of(body))):
            named.add("strict")
        if not _UNKNOWN.search(detail) or self._dialect != "openai":
            return named - _RENAMED.keys()
        refused = self._refused[request.upstream]
        return {name for name in named if _RENAMED.get(name) not in refused}  # it has its other name already

    def _learn_limit(self, body: Mapping[str, Any], request: Request, limits: set[str], detail: str) -> bool:
        """A limit of openfall's own, or a translated one, is too large for the model: its own limit is smaller. Most
        refusals state it. Where they do not, the option is left out, which Anthropic's dialect does not allow."""
        upstream = request.upstream
        values = [value for name in limits if isinstance(value := body[name], int)]
        if not values or min(values) >= self._too_large.get(upstream, min(values) + 1):
            return False
        stated = stated_limit(detail, min(values))
        if stated is None and self._dialect != "openai":
            return False
        self._too_large[upstream], self._limits[upstream] = min(values), stated
        return True

    def apply(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """A body as the model takes it, as far as that is known."""
        upstream = request.upstream
        if upstream in self._adaptive and request.dialect != "anthropic":
            body = fit_thinking(body, Thinking.ADAPTIVE)
        if (bound := self._too_large.get(upstream)) is not None:
            large = {name for name in self._limits_of(body, request) if _is_at_least(body[name], bound)}
            limit = self._limits.get(upstream)
            rest = {key: value for key, value in body.items() if key not in large}
            body = rest if limit is None else rest | dict.fromkeys(large, limit)
        body = self._id_forms.get(upstream, ANY_FORM).apply(body)
        for demand in self._demands.get(upstream, ()):
            body = fulfil(demand, body, request)
        refused = self._refused.get(upstream)
        if not refused:
            return body
        dropped = {name for name in refused if self._is_ours(name, body, request) or f"{name}{_BY_ITS_NAME}" in refused}
        kept = {key: value for key, value in body.items() if key not in dropped}
        for name in dropped & _RENAMED.keys() & body.keys():
            kept.setdefault(_RENAMED[name], body[name])
        if "strict" in refused and request.dialect != self._dialect:
            kept = _with_loose_tools(kept)
        return _without_fields(kept, refused)

    def _renamed(self, detail: str, body: Mapping[str, Any], upstream: str) -> set[str]:
        """A limit, the caller's own too, that a refusal asks for under its other name. It is the same limit."""
        refused = self._refused.get(upstream, set())
        names = {
            name
            for name, other in _RENAMED.items()
            if name in body and f"{other}{_BY_ITS_NAME}" not in refused
            and re.search(rf"(?i){name}.{{0,80}}\b(?:use|try)\b.{{0,9}}{other}", detail)
        }  # fmt: skip
        return names | {f"{name}{_BY_ITS_NAME}" for name in names}

    def _is_adaptive(self, body: Mapping[str, Any], upstream: str) -> bool:
        """Whether a model is already asked to think as much as it wants to."""
        thinking = body.get("thinking")
        is_sent = isinstance(thinking, Mapping) and thinking.get("type") == "adaptive"
        return is_sent or upstream in self._adaptive

    def _limits_of(self, body: Mapping[str, Any], request: Request) -> set[str]:
        """The limits of openfall's own in a body, or those that it translated."""
        return {name for name in _RENAMED if self._is_ours(name, body, request)}

    def _is_ours(self, name: str, body: Mapping[str, Any], request: Request) -> bool:
        """Whether openfall added this option to the caller's body, or translated it."""
        if name not in _TUNING or name not in body:
            return False
        is_added = request.dialect != self._dialect or request.body.get(name) != body[name]
        return is_added or name in _OF_DELIVERY


def _named(detail: str) -> set[str]:
    refused = _EXPECTED.split(detail)[0]
    named = {name for name in (*_TUNING, *FIELDS_OF_ANSWERS) if re.search(rf"(?<!\w){name}(?!\w)", refused)}
    if _NOT_BOTH.search(detail):
        named -= {"temperature"}
    if _EFFORT.search(detail):
        named |= {"output_config", "reasoning_effort"}
    if _NO_TIER.search(detail):
        named |= {"service_tier"}
    return named | set(_THINKING) if _NO_THINKING.search(detail) else named


def _is_at_least(value: Any, bound: int) -> bool:
    return isinstance(value, int) and value >= bound


def _in_answers(name: str, body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    turns = messages if isinstance(messages, list) else []
    return name in FIELDS_OF_ANSWERS and any(isinstance(turn, Mapping) and name in turn for turn in turns)


def _tools_of(body: Mapping[str, Any]) -> list[Any]:
    tools = body.get("tools")
    return tools if isinstance(tools, list) else []


def _demands_schema(tool: Any) -> bool:
    """Whether a tool of OpenAI's or of Anthropic's dialect has the field `strict`."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return any(isinstance(place, Mapping) and "strict" in place for place in (tool, function))


def _with_loose_tools(body: dict[str, Any]) -> dict[str, Any]:
    """The body whose tools are not strict. openfall checks the arguments of a call itself."""
    if not any(map(_demands_schema, tools := _tools_of(body))):
        return body
    loose = [_without(tool, {"strict"}) for tool in tools]
    return {**body, "tools": [
        {**tool, "function": _without(tool["function"], {"strict"})} if "function" in tool else tool for tool in loose
    ]}  # fmt: skip


def _without_fields(body: dict[str, Any], refused: set[str]) -> dict[str, Any]:
    """The body whose messages lack the refused fields of answers."""
    fields, messages = refused & set(FIELDS_OF_ANSWERS), body.get("messages")
    if not fields or not isinstance(messages, list):
        return body
    return {**body, "messages": [_without(message, fields) for message in messages]}


def _without(message: Any, fields: set[str]) -> Any:
    if not isinstance(message, Mapping):
        return message
    return {key: value for key, value in message.items() if key not in fields}
