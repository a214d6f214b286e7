"""Options that a server refused, learned from its refusals, so that one call is repeated and no further one is refused.

Only what openfall adds or translates is left out, and only what tunes an answer. A caller's own parameter, in the
dialect of the backend, is sent as it is: if this model refuses it, the next model of the chain may accept it. The ids
of tool calls are mere labels, so they take the form that a server demands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openfall.router_core.catalog.capabilities import Thinking
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.base import FIELDS_OF_ANSWERS, Request
from openfall.workers.backends.call_id_forms import ANY_FORM, CallIdForm, form_demanded
from openfall.workers.backends.thinking import fit_thinking

_REFUSALS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED})

_TUNING = (
    "thinking", "output_config", "reasoning_effort", "think", "metadata", "user", "parallel_tool_calls", "truncate",
    "keep_alive", "max_tokens", "max_completion_tokens", "verbosity",
)  # fmt: skip
"""Options that openfall adds or translates, and without which the answer is one to the same request."""

_RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""A limit under the name that a server of OpenAI's protocol does not know has the other name there."""

_THINKING = ("thinking", "think", "reasoning_effort")
_NO_THINKING = re.compile(
    r"(?i)\b(thinking|reasoning)( (effort|level|budget|mode))?\b.{0,40} not (supported|enabled|available)"
    r"|support (thinking|reasoning)\b|reasoningEffort"
)
"""How a refusal names thinking, under whatever name it was asked for."""

_TOO_LARGE = re.compile(r"(?i)too (large|high)|at most|maximum|exceed|less than or equal|<=|between")

_UNKNOWN = re.compile(r"(?i)unsupported|not supported|unknown|unrecognized|not permitted|forbidden|instead")
"""The refusal of a name, and not of a value."""


class LearnedOptions:
    """What the models of one endpoint refuse, by the provider's names of the models."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._refused: dict[str, set[str]] = {}
        self._adaptive: set[str] = set()
        self._too_large: dict[str, int] = {}
        """By model, the smallest limit of an answer that was refused as too large."""
        self._id_forms: dict[str, CallIdForm] = {}

    def learn(self, body: Mapping[str, Any], request: Request, failure: Failure) -> bool:
        """Whether a refusal names an option that can be left out, or written otherwise, and was not yet."""
        upstream, detail = request.upstream, failure.detail
        if failure.http_status is not None and (form := form_demanded(detail)) != ANY_FORM:
            is_new, self._id_forms[upstream] = self._id_forms.get(upstream) != form, form
            return is_new
        if failure.error_class not in _REFUSALS:
            return False
        named = {name for name in _named(detail) if _is_ours(name, body, request) or _in_answers(name, body)}
        if not _UNKNOWN.search(detail) or self._dialect != "openai":
            limits, named = named & _RENAMED.keys(), named - _RENAMED.keys()
            if limits and self._dialect == "openai" and _TOO_LARGE.search(detail):
                return self._learn_limit(body, request, limits)
        refused = self._refused.setdefault(upstream, set())
        if "thinking" in named and "adaptive" in detail and upstream not in self._adaptive:
            self._adaptive.add(upstream)
            return True
        if named <= refused:
            return False
        refused |= named
        return True

    def _learn_limit(self, body: Mapping[str, Any], request: Request, limits: set[str]) -> bool:
        """A limit of openfall's own, or a translated one, is too large for the model: its own limit is smaller."""
        values = [value for name in limits if isinstance(value := body[name], int)]
        if not values or min(values) >= self._too_large.get(request.upstream, min(values) + 1):
            return False
        self._too_large[request.upstream] = min(values)
        return True

    def apply(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        """A body as the model takes it, as far as that is known."""
        upstream = request.upstream
        if upstream in self._adaptive and request.dialect != "anthropic":
            body = fit_thinking(body, Thinking.ADAPTIVE)
        if (bound := self._too_large.get(upstream)) is not None:
            large = {name for name in _RENAMED if _is_ours(name, body, request) and _is_at_least(body[name], bound)}
            body = {key: value for key, value in body.items() if key not in large}
        body = self._id_forms.get(upstream, ANY_FORM).apply(body)
        refused = self._refused.get(upstream)
        if not refused:
            return body
        dropped = {name for name in refused if _is_ours(name, body, request)}
        kept = {key: value for key, value in body.items() if key not in dropped}
        for name in dropped & _RENAMED.keys():
            kept.setdefault(_RENAMED[name], body[name])
        return _without_fields(kept, refused)


def _named(detail: str) -> set[str]:
    named = {name for name in (*_TUNING, *FIELDS_OF_ANSWERS) if re.search(rf"(?<!\w){name}(?!\w)", detail)}
    return named | set(_THINKING) if _NO_THINKING.search(detail) else named


def _is_at_least(value: Any, bound: int) -> bool:
    return isinstance(value, int) and value >= bound


def _is_ours(name: str, body: Mapping[str, Any], request: Request) -> bool:
    """Whether openfall added this option to the caller's body, or translated it."""
    return name in _TUNING and name in body and request.body.get(name) != body[name]


def _in_answers(name: str, body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    turns = messages if isinstance(messages, list) else []
    return name in FIELDS_OF_ANSWERS and any(isinstance(turn, Mapping) and name in turn for turn in turns)


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
