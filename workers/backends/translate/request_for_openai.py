"""A request in Anthropic's dialect as OpenAI's. Pure.

Left out, for they only tune: top_k, cache_control, service_tier, speed, inference_geo, diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import (
    listed,
    mapping,
    number,
    string,
    unknown,
    whole,
)
from openfall.workers.backends.translate.messages_for_openai import messages, system_message
from openfall.workers.backends.translate.refusals import Untranslatable
from openfall.workers.backends.translate.schemas import is_strict
from openfall.workers.backends.translate.vocabulary import EFFORT, effort_for

Body = Mapping[str, Any]

REFUSED = ("container", "mcp_servers", "context_management", "fallbacks")
"""What changes the answer that the caller gets."""

_PASSED = {"temperature": number, "top_p": number, "max_tokens": whole}


def request(body: Body) -> dict[str, Any]:
    """The whole body but for the model and the stream, which the adapter sets."""
    for name in REFUSED:
        if body.get(name):
            raise Untranslatable(name)
    said: dict[str, Any] = {"messages": [*system_message(body.get("system")), *messages(body.get("messages"))]}
    said |= {name: check(body[name], name) for name, check in _PASSED.items() if body.get(name) is not None}
    if stops := body.get("stop_sequences"):
        said["stop"] = stops
    return said | _tools(body) | _format(body) | _effort(body) | _user(body)


def _tools(body: Body) -> dict[str, Any]:
    tools = [_tool(tool, place) for tool, place in listed(body.get("tools"), "tools")]
    if not tools:
        return {}
    choice = body.get("tool_choice")
    if choice is None:
        return {"tools": tools}
    choice = mapping(choice, "tool_choice")
    said = {"tools": tools, "tool_choice": _choice(choice)}
    return said | ({"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") is True else {})


def _tool(tool: Body, place: str) -> dict[str, Any]:
    named = tool.get("type")
    if named not in (None, "custom"):
        raise unknown("tools of the type", str(named))
    function: dict[str, Any] = {"name": string(tool.get("name"), f"{place}.name")}
    if isinstance(description := tool.get("description"), str):
        function["description"] = description
    function["parameters"] = mapping(tool.get("input_schema"), f"{place}.input_schema")
    if tool.get("strict") is True:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: Body) -> Any:
    match choice:
        case {"type": "auto" | "none" as word}:
            return word
        case {"type": "any"}:
            return "required"
        case {"type": "tool", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    raise Untranslatable("a tool_choice of its kind")


def _configs(body: Body) -> Iterable[Body]:
    return (told for told in (body.get("output_config"),) if isinstance(told, Mapping))


def _format(body: Body) -> dict[str, Any]:
    """A schema for the answer; also where it stood before it had its place in `output_config`."""
    told = next((config["format"] for config in _configs(body) if config.get("format")), body.get("output_format"))
    if told is None:
        return {}
    told = mapping(told, "output_config.format")
    if told.get("type") != "json_schema":
        raise Untranslatable("an output_config.format of its kind")
    schema = mapping(told.get("schema"), "output_config.format.schema")
    named = {"name": "answer", "schema": schema, **({"strict": True} if is_strict(schema) else {})}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _effort(body: Body) -> dict[str, Any]:
    told = next((config.get("effort") for config in _configs(body)), None)
    effort = EFFORT.get(told) if isinstance(told, str) else None
    match body.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            effort = effort_for(budget)
        case {"type": "disabled"}:
            effort = None
    return {"reasoning_effort": effort} if effort else {}


def _user(body: Body) -> dict[str, Any]:
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    return {"user": user} if isinstance(user, str) and user else {}
