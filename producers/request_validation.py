"""The shape of the fields of a request body that openfall or a provider takes apart. Pure.

A server that gets a text where it expects an object fails with a 500, which would count against its model. Everything
else in a body is for the provider to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from openfall.producers.arguments import describe
from openfall.producers.errors import BadRequest
from openfall.router_core.vocabulary import Dialect

_OBJECT, _LIST, _CHOICE, _TEXT = "an object", "a list", "text or an object", "text"
_TYPES: Mapping[str, tuple[type, ...]] = {
    _OBJECT: (Mapping,), _LIST: (list, tuple), _CHOICE: (str, Mapping), _TEXT: (str,),
}  # fmt: skip
_SHAPES: Mapping[Dialect, Mapping[str, str]] = {
    "openai": {
        "tools": _LIST, "functions": _LIST, "tool_choice": _CHOICE, "response_format": _OBJECT,
        "stream_options": _OBJECT, "metadata": _OBJECT, "logit_bias": _OBJECT, "audio": _OBJECT,
        "prediction": _OBJECT, "modalities": _LIST,
    },
    "responses": {
        "tools": _LIST, "tool_choice": _CHOICE, "text": _OBJECT, "reasoning": _OBJECT, "include": _LIST,
        "instructions": _TEXT, "metadata": _OBJECT, "stream_options": _OBJECT, "truncation": _TEXT,
        "background_options": _OBJECT,
    },
    "anthropic": {
        "tools": _LIST, "tool_choice": _OBJECT, "thinking": _OBJECT, "metadata": _OBJECT, "stop_sequences": _LIST,
        "output_config": _OBJECT, "output_format": _OBJECT, "mcp_servers": _LIST,
    },
    "ollama": {"tools": _LIST, "options": _OBJECT, "format": _CHOICE},
}  # fmt: skip

_ROLES: Mapping[Dialect, tuple[str, ...]] = {
    "openai": ("system", "developer", "user", "assistant", "tool", "function"),
    "responses": ("system", "developer", "user", "assistant"),
    "anthropic": ("user", "assistant", "system"),
    "ollama": ("system", "user", "assistant", "tool"),
}
_SIMILAR = 0.75
"""How similar a role is to a known one that was misspelt. Some chat templates have roles of their own."""
_LONGEST_ROLE = 40

MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512
"""OpenAI's limits of `metadata`: pairs, and the characters of a key and of a value. A Response repeats it in each event
of its life."""

_PROMPTS = {
    "messages": "chat completions (/v1/chat/completions) and of messages (/v1/messages)",
    "input": "Responses (/v1/responses)",
    "prompt": "completions (/v1/completions)",
    "contents": "Google's API, which openfall does not serve",
}
"""The field that has the prompt, and whose it is."""


def check_shape(body: Mapping[str, Any], dialect: Dialect) -> None:
    """Raises `BadRequest` for a field that has not the shape of its API."""
    for name, shape in _SHAPES[dialect].items():
        value = body.get(name)
        if value is not None and not isinstance(value, _TYPES[shape]):
            raise BadRequest(f"`{name}` must be {shape}, not {describe(value)}")
    if dialect == "responses":
        check_metadata(body.get("metadata"))
    if dialect == "anthropic" and not isinstance(body.get("system"), str | list | None):
        raise BadRequest("`system` must be text, or a list of text blocks")
    for number, tool in enumerate(body.get("tools") or ()):
        _check_tool(f"tools[{number}]", tool, dialect)


def check_metadata(metadata: object) -> None:
    """Raises `BadRequest` for `metadata` that OpenAI refuses. None passes."""
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise BadRequest(f"`metadata` must be an object, not {describe(metadata)}")
    if len(metadata) > MAX_METADATA:
        raise BadRequest(f"`metadata` has {len(metadata):,} pairs, over the {MAX_METADATA} allowed")
    for key, value in metadata.items():
        length, name = len(str(key)), repr(str(key)[:MAX_METADATA_KEY])
        if length > MAX_METADATA_KEY:
            text = f"the key {name}... of `metadata` has {length:,} characters, over the {MAX_METADATA_KEY} allowed"
            raise BadRequest(text)
        if not isinstance(value, str):
            raise BadRequest(f"`metadata` must have text under the key {name}, not {describe(value)}")
        if len(value) > MAX_METADATA_VALUE:
            text = (
                f"`metadata` has {len(value):,} characters under the key {name}, over the {MAX_METADATA_VALUE} allowed"
            )
            raise BadRequest(text)


def _check_tool(location: str, tool: object, dialect: Dialect) -> None:
    if not isinstance(tool, Mapping):
        raise BadRequest(f"{location} must be an object, not {describe(tool)}")
    own: Any = tool
    place = location
    if dialect in ("openai", "ollama") and tool.get("type", "function") == "function":
        own, place = tool.get("function"), f"{location}.function"
        if not isinstance(own, Mapping):
            raise BadRequest(f"{place} must be an object {{name, description, parameters}}")
    elif not (dialect == "anthropic" or tool.get("type") == "function"):
        return  # a tool of the provider
    if not isinstance(own.get("name"), str) and (dialect != "anthropic" or "input_schema" in tool):
        raise BadRequest(f"{place} has no name: write the name of the function")


def check_role(location: str, role: str, dialect: Dialect) -> None:
    """Raises `BadRequest` for a role that is misspelt. A role that is like none is for the model to judge."""
    known = _ROLES[dialect]
    if role in known or len(role) > _LONGEST_ROLE:
        return
    if near := get_close_matches(role.strip().lower(), known, n=1, cutoff=_SIMILAR):
        raise BadRequest(f"{location} has the role {role!r}: did you mean {near[0]!r}?")


def check_prompt_field(body: Mapping[str, Any], name: str, dialect: Dialect) -> None:
    """Raises `BadRequest` for a body that has the prompt in the field of another API."""
    if dialect == "ollama":  # it has a `prompt` of its own
        return
    if body.get(name) is None and (other := next((field for field in _PROMPTS if body.get(field)), None)):
        raise BadRequest(f"`{name}` is missing: `{other}` is a field of {_PROMPTS[other]}")
