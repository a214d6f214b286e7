"""Translates a request of OpenAI's dialect into Anthropic's. Pure.

Omitted, since they only tune: seed, penalties, logit_bias, verbosity, service_tier, store, prediction, cache keys, and
vendors' additions. With a temperature, top_p is omitted too: Anthropic's models take one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import (
    Body,
    kind,
    listed,
    mapping,
    number,
    string,
    text_or_blocks,
    unknown,
    whole,
)
from openfall.workers.backends.translate.messages_for_anthropic import may_think, translate_messages
from openfall.workers.backends.translate.older_functions import has_functions, with_newer_tools
from openfall.workers.backends.translate.openai_parts import (
    format_wanted,
    function_tool,
    tool_choice,
)
from openfall.workers.backends.translate.reasoning_effort import MIN_THINKING, THINKING
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.schemas import for_anthropic, is_strict, object_schema
from openfall.workers.backends.translate.tool_names import tool_name

JSON_INSTRUCTION = "Answer with one JSON object and nothing else."
"""Stands for `response_format: json_object`. Anthropic has a parameter only for a schema."""

MAX_USER_LENGTH = 256
"""Characters of a user's id at Anthropic."""

REFUSED: Mapping[str, Callable[[Any], bool]] = {
    "n": lambda value: value not in (None, 1),
    "logprobs": bool,
    "top_logprobs": bool,
    "audio": bool,
    "modalities": lambda value: bool(value) and value != ["text"],
    "functions": bool,
    "web_search_options": lambda value: value is not None,
    "moderation": bool,
    "grammar": bool,
    "json_schema": bool,
    "guided_json": bool,
    "guided_regex": bool,
    "guided_choice": bool,
    "guided_grammar": bool,
    "structured_outputs": bool,
}
"""Parameters that change the result, each with the test of whether it is set. The last six are vendors'."""


def request(body: Body) -> dict[str, Any]:
    """The body without the model and the stream, which the client sets."""
    if has_functions(body):
        body = {**with_newer_tools(body), "parallel_tool_calls": False}  # the older form has one call
    for name, is_set in REFUSED.items():
        if is_set(body.get(name)):
            raise Untranslatable(name)
    system, messages = translate_messages(body.get("messages"))
    result: dict[str, Any] = {"messages": messages}
    wanted = format_wanted(body)
    if wanted == "json":
        system.append({"type": "text", "text": JSON_INSTRUCTION})
    elif wanted is not None:
        result["output_config"] = {"format": {"type": "json_schema", "schema": for_anthropic(wanted)}}
    if system:
        result["system"] = text_or_blocks(system)
    result |= {**_limit(body), **_stop(body), **(_tools(body) or _tools_of_history(messages)), **_user(body)}
    thinking = _thinking(body, result)
    return result | thinking | ({} if thinking.get("thinking", {}).get("type") == "enabled" else _sampling(body))


def _limit(body: Body) -> dict[str, Any]:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            return {"max_tokens": whole(body[name], name)}
    return {}


def _sampling(body: Body) -> dict[str, Any]:
    """The temperature, up to Anthropic's 1; without one, the other sampling parameters."""
    given = {name: number(body[name], name) for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    if "temperature" in given:
        given["temperature"] = min(given["temperature"], 1.0)
        given.pop("top_p", None)
    return given


def _stop(body: Body) -> dict[str, Any]:
    stop = body.get("stop")
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list | None) or not all(isinstance(text, str) for text in texts or ()):
        raise Unreadable("stop is neither a string nor a list of strings")
    texts = [text for text in texts or () if text]  # an empty field of a form
    if not texts:
        return {}
    if not all(text.strip() for text in texts):
        raise Untranslatable("stop at white space")
    return {"stop_sequences": texts}


def _tools(body: Body) -> dict[str, Any]:
    translated = [_tool(tool, path) for tool, path in listed(body.get("tools"), "tools")]
    tools = list({tool["name"]: tool for tool in translated}.values())  # Anthropic refuses a repeated name
    if not tools:
        return {}
    choice, allowed = _choice(tool_choice(body.get("tool_choice")))
    if allowed is not None:
        tools = [tool for tool in tools if tool["name"] in allowed]
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def _tools_of_history(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The tools that earlier answers called, of which the next answer may call none. Anthropic's dialect demands tools
    as soon as a call stands in the conversation."""
    contents = (message["content"] for message in messages if isinstance(message["content"], list))
    names = {block["name"]: None for blocks in contents for block in blocks if block.get("type") == "tool_use"}
    if not names:
        return {}
    tools = [{"name": name, "input_schema": object_schema(None)} for name in names]
    return {"tools": tools, "tool_choice": {"type": "none"}}


def _tool(tool: Body, path: str) -> dict[str, Any]:
    tool = function_tool(tool, path)
    if (tool_type := kind(tool, path)) != "function":
        raise unknown("tools of the type", tool_type)
    function = mapping(tool.get("function"), f"{path}.function")
    schema = function.get("parameters")
    name = string(function.get("name"), f"{path}.function.name")
    result: dict[str, Any] = {"name": tool_name(name, "anthropic")}
    if isinstance(description := function.get("description"), str):
        result["description"] = description
    strict, parameters = function.get("strict") is True, object_schema(schema)
    result["input_schema"] = for_anthropic(parameters) if strict and is_strict(parameters) else parameters
    if isinstance(cache := tool.get("cache_control"), Mapping):
        result["cache_control"] = cache
    return result | ({"strict": True} if strict else {})


def _choice(choice: Any) -> tuple[dict[str, Any], set[str] | None]:
    """The choice, and the names of the only allowed tools (None: all)."""
    match choice:
        case None:
            return {}, None
        case "auto" | "none":
            return {"type": choice}, None
        case "required":
            return {"type": "any"}, None
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": tool_name(name, "anthropic")}, None
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}:
            return {"type": "any" if mode == "required" else "auto"}, {_tool_name(tool) for tool in tools}
    raise Untranslatable("a tool_choice of its kind")


def _tool_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return tool_name(name, "anthropic") if isinstance(name, str) else ""


def _user(body: Body) -> dict[str, Any]:
    for name in ("safety_identifier", "user"):
        if isinstance(user := body.get(name), str) and user:
            return {"metadata": {"user_id": user[:MAX_USER_LENGTH]}}
    return {}


def _thinking(body: Body, result: Body) -> dict[str, Any]:
    """The budget of thinking: at most half of the limit. None where the protocol forbids it: with a required tool, and
    within a tool use that began without thinking.
    """
    if isinstance(thinking := body.get("thinking"), Mapping):
        return {"thinking": thinking}
    effort = body.get("reasoning_effort")
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    budget = THINKING.get(effort, 0) if isinstance(effort, str) else 0
    budget = min(budget, result["max_tokens"] // 2) if "max_tokens" in result else budget
    forced = result.get("tool_choice", {}).get("type") in ("any", "tool")
    if budget < MIN_THINKING or forced or not may_think(result["messages"]):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
