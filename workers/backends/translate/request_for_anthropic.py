"""A request in OpenAI's dialect as Anthropic's. Pure.

Left out, for they only tune: seed, penalties, logit_bias, verbosity, service_tier, store, prediction, cache keys, and
what vendors add. Where a temperature is given, top_p is left out too: Anthropic's models take one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import (
    kind,
    listed,
    mapping,
    number,
    string,
    unknown,
    whole,
)
from openfall.workers.backends.translate.messages_for_anthropic import may_think, turns
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.schemas import for_anthropic
from openfall.workers.backends.translate.vocabulary import LEAST_THINKING, THINKING

Body = Mapping[str, Any]

JSON_PLEASE = "Answer with one JSON object and nothing else."
"""What `response_format: json_object` is put into: Anthropic has a word only for a schema."""

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
"""What changes the answer that the caller gets, and when it is asked for. The last six are vendors'."""


def request(body: Body) -> dict[str, Any]:
    """The whole body but for the model and the stream, which the adapter sets."""
    for name, asks in REFUSED.items():
        if asks(body.get(name)):
            raise Untranslatable(name)
    system, messages = turns(body.get("messages"))
    said: dict[str, Any] = {"messages": messages}
    system += [{"type": "text", "text": JSON_PLEASE}] if _wants_any_json(body) else []
    if system:
        said["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    said |= {**_limit(body), **_stop(body), **_tools(body), **_format(body), **_user(body)}
    thinking = _thinking(body, said)
    return said | thinking | ({} if thinking.get("thinking", {}).get("type") == "enabled" else _sampling(body))


def _limit(body: Body) -> dict[str, Any]:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            return {"max_tokens": whole(body[name], name)}
    return {}


def _sampling(body: Body) -> dict[str, Any]:
    """A temperature, up to Anthropic's 1; else what else there is of it."""
    given = {name: number(body[name], name) for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    if "temperature" in given:
        given["temperature"] = min(given["temperature"], 1.0)
        given.pop("top_p", None)
    return given


def _stop(body: Body) -> dict[str, Any]:
    told = body.get("stop")
    texts = [told] if isinstance(told, str) else told
    if not texts:
        return {}
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Unreadable("stop is neither a text nor a list of texts")
    if not all(text.strip() for text in texts):
        raise Untranslatable("stop at white space")
    return {"stop_sequences": texts}


def _tools(body: Body) -> dict[str, Any]:
    tools = [_tool(tool, place) for tool, place in listed(body.get("tools"), "tools")]
    if not tools:
        return {}
    choice, allowed = _choice(body.get("tool_choice"))
    if allowed is not None:
        tools = [tool for tool in tools if tool["name"] in allowed]
    if body.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def _tool(tool: Body, place: str) -> dict[str, Any]:
    if (named := kind(tool, place)) != "function":
        raise unknown("tools of the type", named)
    function = mapping(tool.get("function"), f"{place}.function")
    schema = function.get("parameters")
    said: dict[str, Any] = {"name": string(function.get("name"), f"{place}.function.name")}
    if isinstance(description := function.get("description"), str):
        said["description"] = description
    said["input_schema"] = schema if isinstance(schema, Mapping) and schema else {"type": "object", "properties": {}}
    if isinstance(cache := tool.get("cache_control"), Mapping):
        said["cache_control"] = cache
    return said | ({"strict": True} if function.get("strict") is True else {})


def _choice(told: Any) -> tuple[dict[str, Any], set[str] | None]:
    """The choice, and the names of the only tools that may be used; None: all of them."""
    match told:
        case None:
            return {}, None
        case "auto" | "none":
            return {"type": told}, None
        case "required":
            return {"type": "any"}, None
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}, None
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}:
            return {"type": "any" if mode == "required" else "auto"}, {_named(tool) for tool in tools}
    raise Untranslatable("a tool_choice of its kind")


def _named(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def _wants_any_json(body: Body) -> bool:
    told = body.get("response_format")
    return isinstance(told, Mapping) and told.get("type") == "json_object"


def _format(body: Body) -> dict[str, Any]:
    """A schema for the answer, as structured outputs ask for it."""
    told = body.get("response_format")
    if told is None:
        return {}
    match mapping(told, "response_format"):
        case {"type": "text" | "json_object"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"output_config": {"format": {"type": "json_schema", "schema": for_anthropic(schema)}}}
    raise Untranslatable("a response_format of its kind")


def _user(body: Body) -> dict[str, Any]:
    for name in ("safety_identifier", "user"):
        if isinstance(user := body.get(name), str) and user:
            return {"metadata": {"user_id": user}}
    return {}


def _thinking(body: Body, said: Body) -> dict[str, Any]:
    """How much is to be thought: at most half of the limit. Not where the protocol forbids it: with a tool that must be
    used, and in the middle of a tool's use whose beginning was not thought about.
    """
    if isinstance(told := body.get("thinking"), Mapping):
        return {"thinking": told}
    effort = body.get("reasoning_effort")
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    budget = THINKING.get(effort, 0) if isinstance(effort, str) else 0
    budget = min(budget, said["max_tokens"] // 2) if "max_tokens" in said else budget
    forced = said.get("tool_choice", {}).get("type") in ("any", "tool")
    if budget < LEAST_THINKING or forced or not may_think(said["messages"]):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
