"""Translates a request of Anthropic's dialect into OpenAI's. Pure.

Omitted, since they only tune: top_k, cache_control, service_tier, speed, inference_geo, diagnostics, and
context_management, which says what of a long history the provider may drop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from openfall.workers.backends.translate.json_values import Body, listed, mapping, number, string, unknown, whole
from openfall.workers.backends.translate.messages_for_openai import system_message, translate_messages
from openfall.workers.backends.translate.reasoning_effort import EFFORT, effort_for
from openfall.workers.backends.translate.refusals import Untranslatable
from openfall.workers.backends.translate.schemas import is_strict, object_schema
from openfall.workers.backends.translate.tool_names import tool_name

REFUSED = ("container", "mcp_servers", "fallbacks")
"""Parameters that change the result."""

MAX_USER_LENGTH = 64
"""Characters of a user's id at OpenAI. A longer one is replaced by its hash."""

_PASSED = {"temperature": number, "top_p": number, "max_tokens": whole}


def request(body: Body) -> dict[str, Any]:
    """The body without the model and the stream, which the client sets."""
    for name in REFUSED:
        if body.get(name):
            raise Untranslatable(name)
    result: dict[str, Any] = {
        "messages": [*system_message(body.get("system")), *translate_messages(body.get("messages"))]
    }
    result |= {name: check(body[name], name) for name, check in _PASSED.items() if body.get(name) is not None}
    if stops := body.get("stop_sequences"):
        result["stop"] = stops
    return result | _tools(body) | _format(body) | _effort(body) | _user(body)


def _tools(body: Body) -> dict[str, Any]:
    tools = [_tool(tool, path) for tool, path in listed(body.get("tools"), "tools") if not _searches_tools(tool)]
    if not tools:
        return {}
    choice = body.get("tool_choice")
    if choice is None:
        return {"tools": tools}
    choice = mapping(choice, "tool_choice")
    result = {"tools": tools, "tool_choice": _choice(choice)}
    return result | ({"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") is True else {})


def _searches_tools(tool: Body) -> bool:
    """Whether a tool only finds the others, which OpenAI's dialect sends whole."""
    return str(tool.get("type")).startswith("tool_search_tool_")


def _tool(tool: Body, path: str) -> dict[str, Any]:
    tool_type = tool.get("type")
    if tool_type not in (None, "custom", "function"):
        raise unknown("tools of the type", str(tool_type))
    function: dict[str, Any] = {"name": tool_name(string(tool.get("name"), f"{path}.name"), "openai")}
    if isinstance(description := tool.get("description"), str):
        function["description"] = description
    function["parameters"] = object_schema(mapping(tool.get("input_schema"), f"{path}.input_schema"))
    if tool.get("strict") is True and is_strict(function["parameters"]):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: Body) -> Any:
    match choice:
        case {"type": "auto" | "none" as word}:
            return word
        case {"type": "any"}:
            return "required"
        case {"type": "tool", "name": str(name)}:
            return {"type": "function", "function": {"name": tool_name(name, "openai")}}
    raise Untranslatable("a tool_choice of its kind")


def _configs(body: Body) -> Iterable[Body]:
    return (config for config in (body.get("output_config"),) if isinstance(config, Mapping))


def _format(body: Body) -> dict[str, Any]:
    """The schema of the answer. `output_format` is its former name."""
    wanted = next((config["format"] for config in _configs(body) if config.get("format")), body.get("output_format"))
    if wanted is None:
        return {}
    wanted = mapping(wanted, "output_config.format")
    if wanted.get("type") != "json_schema":
        raise Untranslatable("an output_config.format of its kind")
    schema = mapping(wanted.get("schema"), "output_config.format.schema")
    json_schema = {"name": "answer", "schema": schema, **({"strict": True} if is_strict(schema) else {})}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def _effort(body: Body) -> dict[str, Any]:
    wanted = next((config.get("effort") for config in _configs(body)), None)
    effort = EFFORT.get(wanted) if isinstance(wanted, str) else None
    match body.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            effort = effort_for(budget)
        case {"type": "disabled"}:
            effort = None
    return {"reasoning_effort": effort} if effort else {}


def _user(body: Body) -> dict[str, Any]:
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if not isinstance(user, str) or not user:
        return {}
    return {"user": user if len(user) <= MAX_USER_LENGTH else blake2b(user.encode()).hexdigest()[:MAX_USER_LENGTH]}
