"""From a prompt to a request body in its dialect: built from text or messages, or checked as it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, get_args

from pydantic_core import PydanticSerializationError, to_json

from openfall.producers.errors import BadRequest, PromptTooLarge
from openfall.router_core.catalog.entries import UnknownName
from openfall.router_core.jobs.job import Dialect
from openfall.router_core.routing.request_body import get_parameters

Prompt = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A text, a list of messages, or a whole request body; in the dialect that the options name."""

PARAMETERS = ("max_tokens", "temperature", "top_p", "stop", "seed", "response_format")
"""What may be said beside the prompt and goes into the body."""

_NAMES: Mapping[Dialect, Mapping[str, str]] = {
    "openai": {name: name for name in PARAMETERS},
    "anthropic": {
        "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stop": "stop_sequences",
    },
    "ollama": {
        "max_tokens": "num_predict", "temperature": "temperature", "top_p": "top_p", "stop": "stop", "seed": "seed",
    },
}  # fmt: skip
"""What a dialect calls them. What it has no name for is written into the body by who speaks it."""

_NUMBERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "num_predict", "seed")
_LENGTHS = ("max_tokens", "max_completion_tokens")
"""Lengths of an answer that must be 1 or more. Ollama's `num_predict` also knows -1 and -2."""


def dialect_of(told: str | None) -> Dialect:
    """The dialect that an option names; openai when it names none. `UnknownName` for another."""
    for known in get_args(Dialect):
        if told == known:
            dialect: Dialect = known
            return dialect
    if told is None:
        return "openai"
    raise UnknownName("dialect", told, get_args(Dialect))


def body_of(prompt: Prompt, dialect: Dialect, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The request body. A whole one is kept as it is; `parameters` are added. Raises `BadRequest`."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadRequest("the prompt is empty")
        body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    elif isinstance(prompt, Mapping):
        body = dict(prompt)
    else:
        body = {"messages": list(prompt)}
    check_messages(body.get("messages"), dialect)
    _check_places(body, dialect)
    _add(body, dialect, {name: value for name, value in parameters.items() if value is not None})
    _check_numbers(get_parameters(body, dialect))
    return body


def check_messages(messages: object, dialect: Dialect = "openai") -> None:
    """`BadRequest` unless it is a non-empty list of messages, each with a role and something in it."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a non-empty list of {role, content}")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest(f"messages[{number}] must be an object {{role, content}}, not {type(message).__name__}")
        _check_message(f"messages[{number}]", message, dialect)


def check_size(body: Mapping[str, Any], most: int) -> None:
    """`PromptTooLarge` beyond `most` bytes of JSON, `BadRequest` for what is no JSON."""
    try:
        size = len(to_json(body))
    except (PydanticSerializationError, ValueError) as error:
        raise BadRequest(f"the request cannot be written as JSON: {error}") from None
    if size > most:
        raise PromptTooLarge(size, most)


def _check_message(place: str, message: Mapping[str, Any], dialect: Dialect) -> None:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        roles = '"user" or "assistant"' if dialect == "anthropic" else '"user", "assistant" or "system"'
        raise BadRequest(f"{place} has no role: write {roles}")
    if not _says_something(message, dialect):
        kinds = "text; images go into `images`" if dialect == "ollama" else "text, or a list of parts"
        raise BadRequest(f"{place} has no content: write {kinds}")


def _says_something(message: Mapping[str, Any], dialect: Dialect) -> bool:
    content = message.get("content")
    match dialect:
        case "openai":
            return isinstance(content, str | list) or (content is None and bool(message.get("tool_calls")))
        case "anthropic":
            return isinstance(content, str) or (isinstance(content, list) and bool(content))
        case "ollama":
            silent = content is None and bool(message.get("tool_calls") or message.get("images"))
            return isinstance(content, str) or silent


def _check_places(body: Mapping[str, Any], dialect: Dialect) -> None:
    """`BadRequest` for what stands beside the messages and is read by us too, but has not the form it should have."""
    if dialect == "anthropic" and not isinstance(body.get("system"), str | list | None):
        raise BadRequest("`system` must be text, or a list of text blocks")
    if dialect == "ollama" and not isinstance(body.get("options"), Mapping | None):
        raise BadRequest("`options` must be an object: {temperature, num_predict, ...}")


def _add(body: dict[str, Any], dialect: Dialect, given: Mapping[str, Any]) -> None:
    names = _NAMES[dialect]
    for name in given:
        if name not in names:
            raise BadRequest(
                f"`{name}` has no place in the {dialect} dialect beside the prompt: write it into the body"
            )
    if not given:
        return
    added = {names[name]: value for name, value in given.items()}
    if dialect == "ollama":
        body["options"] = {**get_parameters(body, dialect), **added}
        return
    if dialect == "anthropic" and isinstance(added.get("stop_sequences"), str):
        added["stop_sequences"] = [added["stop_sequences"]]
    body.update(added)


def _check_numbers(said: Mapping[str, Any]) -> None:
    """`BadRequest` for a number that is none: JSON has no nan and no infinity."""
    for name in _NUMBERS:
        value = said.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise BadRequest(f"`{name}` must be a number, not {value!r}")
        if name in _LENGTHS and value < 1:
            raise BadRequest(f"`{name}` must be 1 or more, not {value!r}")
