"""Builds the request body of a prompt in its dialect, or checks a body that the caller wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic_core import PydanticSerializationError, to_json

from openfall.producers.arguments import check_bounds, check_json, describe, refuse_foreign
from openfall.producers.embedding_prompt import build_embeddings_body
from openfall.producers.errors import BadRequest, PromptTooLarge
from openfall.producers.image_paths import refuse_paths
from openfall.producers.request_validation import check_prompt_field, check_role, check_shape
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.request_body import get_parameters
from openfall.router_core.vocabulary import Dialect, JobKind

Prompt = str | Sequence[Mapping[str, Any]] | Sequence[str] | Mapping[str, Any]
"""Text, a list of messages, or a whole request body in the dialect that the options name. For embeddings: a text, a
list of texts, or a body with `input`."""

PARAMETERS = ("max_tokens", "temperature", "top_p", "stop", "seed", "response_format")
"""Options of a job that go into its body."""

_NAMES: Mapping[Dialect, Mapping[str, str]] = {
    "openai": {name: name for name in PARAMETERS},
    "anthropic": {
        "max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stop": "stop_sequences",
    },
    "ollama": {
        "max_tokens": "num_predict", "temperature": "temperature", "top_p": "top_p", "stop": "stop", "seed": "seed",
    },
    "responses": {"max_tokens": "max_output_tokens", "temperature": "temperature", "top_p": "top_p"},
}  # fmt: skip
"""Their names in each dialect. A caller writes other parameters into the body."""

_NUMBERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "seed",
)  # fmt: skip
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Answer lengths that must be 1 or more. Ollama's `num_predict` also takes -1 and -2."""
NO_LIMIT = -1
"""As an answer length it is none, as at llama-server, LM Studio and n8n. Providers refuse it, so it is left out."""


def parse_dialect(name: str | None) -> Dialect:
    """The dialect of that name; None: openai. Raises `UnknownName`."""
    for known in get_args(Dialect):
        if name == known:
            dialect: Dialect = known
            return dialect
    if name is None:
        return "openai"
    raise UnknownName("dialect", name, get_args(Dialect))


def build_body(
    prompt: Prompt, dialect: Dialect, parameters: Mapping[str, Any], kind: JobKind = JobKind.COMPLETION
) -> dict[str, Any]:
    """The request body, with `parameters` added. A whole body stays as it is otherwise. Raises `BadRequest`."""
    if kind is JobKind.EMBEDDING:
        return build_embeddings_body(prompt, parameters)
    if isinstance(prompt, bytes | bytearray) or not isinstance(prompt, str | Sequence | Mapping):
        raise BadRequest(
            f"the prompt must be text, a list of messages, or a whole request body, not {describe(prompt)}"
        )
    name = "input" if dialect == "responses" else "messages"
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadRequest("the prompt is empty")
        body: dict[str, Any] = {name: [{"role": "user", "content": prompt}]}
    elif isinstance(prompt, Mapping):
        body = dict(prompt)
    else:
        body = {name: list(prompt)}
    check_prompt_field(body, name, dialect)
    if dialect == "responses":
        check_input(body.get("input"))
    else:
        check_messages(body.get("messages"), dialect)
    check_shape(body, dialect)
    _add_parameters(body, dialect, {name: value for name, value in parameters.items() if value is not None})
    _check_numbers(get_parameters(body, dialect))
    return {key: value for key, value in body.items() if value != NO_LIMIT or key not in _LENGTHS}


def check_messages(messages: object, dialect: Dialect = "openai") -> None:
    """Raises `BadRequest` unless this is a non-empty list of messages, each with a role and content."""
    if not isinstance(messages, list) or not messages:
        wrong = "" if messages is None or isinstance(messages, list) else f", not {describe(messages)}"
        raise BadRequest(f"`messages` must be a non-empty list of {{role, content}}{wrong}")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest(f"messages[{number}] must be an object {{role, content}}, not {type(message).__name__}")
        _check_message(f"messages[{number}]", message, dialect)


def check_input(given: object) -> None:
    """Raises `BadRequest` unless this is the input of a Response: text, or a list of items."""
    if isinstance(given, str):
        return
    if not isinstance(given, list) or not given:
        wrong = "" if given is None or isinstance(given, list) else f", not {describe(given)}"
        raise BadRequest(f"`input` must be text, or a non-empty list of items{wrong}")
    for number, item in enumerate(given):
        if not isinstance(item, dict):
            raise BadRequest(f"input[{number}] must be an object, not {type(item).__name__}")
        if item.get("type") in (None, "message"):
            _check_message(f"input[{number}]", item, "responses")


def check_size(body: Mapping[str, Any], max_bytes: int) -> int:
    """The bytes of a body as JSON. Raises `PromptTooLarge` for more than `max_bytes`, `RequestTooComplex`, and
    `BadRequest` if it is not JSON."""
    try:
        packed = to_json(body)
    except (PydanticSerializationError, ValueError) as error:
        refuse_foreign(body)  # not by orjson: deep tuples overflow its stack, and the process dies
        raise BadRequest(f"the request cannot be written as JSON: {error}") from None
    if len(packed) > max_bytes:
        raise PromptTooLarge(len(packed), max_bytes)
    check_json(body, packed)
    check_bounds(body, packed)
    return len(packed)


def _check_message(location: str, message: Mapping[str, Any], dialect: Dialect) -> None:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        roles = '"user" or "assistant"' if dialect == "anthropic" else '"user", "assistant" or "system"'
        raise BadRequest(f"{location} has no role: write {roles}")
    check_role(location, role, dialect)
    if not _has_content(message, dialect):
        kinds = "text; images go into `images`" if dialect == "ollama" else "text, or a list of parts"
        content = message.get("content")
        wrong = f"has a content of a wrong type ({describe(content)})" if content else "has no content"
        raise BadRequest(f"{location} {wrong}: write {kinds}")
    refuse_paths(location, message)


def _has_content(message: Mapping[str, Any], dialect: Dialect) -> bool:
    content = message.get("content")
    match dialect:
        case "responses":
            return isinstance(content, str | list)
        case "openai":
            return isinstance(content, str | list) or (content is None and _has_other_content(message))
        case "anthropic":
            return isinstance(content, str) or (isinstance(content, list) and bool(content))
        case "ollama":
            other = content is None and any(message.get(key) for key in ("tool_calls", "images", "thinking"))
            return isinstance(content, str) or other


def _has_other_content(message: Mapping[str, Any]) -> bool:
    """Whether OpenAI's API takes the message without a content: an answer that was a call, a refusal, a sound or
    reasoning. Clients send back what they got, and the result of a tool that returned nothing."""
    if message.get("role") in ("assistant", "function", "tool"):
        return "content" in message or any(value for key, value in message.items() if key not in ("role", "name"))
    return bool(message.get("tool_calls"))


def _add_parameters(body: dict[str, Any], dialect: Dialect, parameters: Mapping[str, Any]) -> None:
    names = _NAMES[dialect]
    for name in parameters:
        if name not in names:
            raise BadRequest(f"the {dialect} dialect has no option `{name}`: write the parameter into a whole body")
    if not parameters:
        return
    added = {names[name]: value for name, value in parameters.items()}
    if dialect == "ollama":
        body["options"] = {**get_parameters(body, dialect), **added}
        return
    if dialect == "anthropic" and isinstance(added.get("stop_sequences"), str):
        added["stop_sequences"] = [added["stop_sequences"]]
    body.update(added)


def _check_numbers(parameters: Mapping[str, Any]) -> None:
    """Raises `BadRequest` for an invalid number: JSON has no nan and no infinity."""
    for name in _NUMBERS:
        value = parameters.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
            raise BadRequest(f"`{name}` must be a number, not {describe(value)}")
        if name in _LENGTHS and value < 1 and value != NO_LIMIT:
            raise BadRequest(f"`{name}` must be 1 or more, not {value!r}")
