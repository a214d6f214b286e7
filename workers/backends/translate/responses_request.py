"""Translates a request of OpenAI's Responses into one of its chat completions. Pure.

What chat completions have no form for is left out, and `left_out` names it: programs send tools of the provider that
they do not need. Only a `tool_choice` that demands such a tool is `Untranslatable`. Omitted without a name, since they
only tune or belong to OpenAI's own accounts: metadata, service_tier, prompt_cache_key, safety_identifier, truncation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from openfall.workers.backends.exact_json import dumps
from openfall.workers.backends.translate.json_values import Body, listed, mapping, optional_string, string, unknown
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

Message = dict[str, Any]

_SAME = ("temperature", "top_p", "user", "presence_penalty", "frequency_penalty", "seed", "stop")
"""Fields with the same name and meaning in both."""
_STORED = ("conversation", "prompt", "previous_response_id")
"""Fields that name something that is stored at OpenAI."""
_FUNCTION = ("name", "description", "parameters", "strict")
_SCHEMA = ("name", "description", "schema", "strict")
_LOG_PROBABILITIES = "message.output_text.logprobs"


def request(body: Body) -> dict[str, Any]:
    """The body without the model and the stream, which the client sets."""
    return _translate(body, [])


def left_out(body: Body) -> list[str]:
    """The types of the tools, items and parts that the translation of this request lacks."""
    names: list[str] = []
    with suppress(Unreadable, Untranslatable):
        _translate(body, names)
    return list(dict.fromkeys(names))


def _translate(body: Body, dropped: list[str]) -> dict[str, Any]:
    for name in _STORED:
        if body.get(name) is not None:
            raise Untranslatable(name)
    result = {name: body[name] for name in _SAME if body.get(name) is not None}
    instructions = body.get("instructions")
    system = [{"role": "system", "content": instructions}] if isinstance(instructions, str) and instructions else []
    result["messages"] = [*system, *_messages(body.get("input"), dropped)]
    if body.get("max_output_tokens") is not None:
        result["max_tokens"] = body["max_output_tokens"]
    effort = _object(body.get("reasoning")).get("effort")
    if effort is not None:
        result["reasoning_effort"] = effort
    return result | _tools(body, dropped) | _text_options(body) | _log_probabilities(body)


def _messages(items: Any, dropped: list[str]) -> list[Message]:
    """The messages of an `input`: a text, or a list of items."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if not isinstance(items, list):
        raise Unreadable("input is not text and not a list")
    messages: list[Message] = []
    shown: list[Message] = []
    for item, path in listed(items, "input"):
        is_result = item.get("type") in ("function_call_output", "custom_tool_call_output")
        if shown and not is_result:
            messages.append({"role": "user", "content": shown})
            shown = []
        if is_result:
            result, others = _result(item, path, dropped)
            messages.append(result)
            shown += others
        else:
            _add_item(messages, item, path, dropped)
    return [*messages, {"role": "user", "content": shown}] if shown else messages


def _add_item(messages: list[Message], item: Body, path: str, dropped: list[str]) -> None:
    match item.get("type") or ("message" if "role" in item else None):
        case "message":
            role = string(item.get("role"), f"{path}.role")
            content = _content(item.get("content"), f"{path}.content", dropped)
            messages.append({"role": "system" if role == "developer" else role, "content": content})
        case "function_call":
            _add_call(messages, item)
        case "custom_tool_call":  # its input is a text: the model must read what it has done before
            _add_call(messages, {**item, "arguments": dumps({"input": item.get("input")}).decode()})
        case "reasoning":
            pass  # chat completions take no reasoning back
        case "item_reference":
            raise Untranslatable("an item that is stored at its provider")
        case kind:
            dropped.append(str(kind))


def _result(item: Body, path: str, dropped: list[str]) -> tuple[Message, list[Message]]:
    """The message of a tool's result, and its parts that only a user's message can hold."""
    content = _content(item.get("output"), f"{path}.output", dropped)
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    others = [part for part in parts if part["type"] != "text"]
    return {"role": "tool", "tool_call_id": item.get("call_id"), "content": text}, others


def _content(content: Any, path: str, dropped: list[str]) -> Any:
    """The content of a message: text as it is, parts in their other form."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unreadable(f"{path} is not text and not a list")
    parts = [translated for part, place in listed(content, path) for translated in _parts(part, place, dropped)]
    only_text = all(part["type"] == "text" for part in parts)
    return "\n".join(part["text"] for part in parts) if only_text else parts


def _parts(part: Body, path: str, dropped: list[str]) -> Iterator[Message]:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            yield {"type": "text", "text": optional_string(part.get("text"), f"{path}.text")}
        case "refusal":
            yield {"type": "text", "text": optional_string(part.get("refusal"), f"{path}.refusal")}
        case "input_image" if part.get("image_url"):
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            yield {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file" if part.get("file_data"):
            yield {"type": "file", "file": {key: part[key] for key in ("file_data", "filename") if key in part}}
        case "input_file" | "input_image":
            raise Untranslatable("a file that is stored at its provider, or elsewhere: send its data")
        case "input_audio":
            yield dict(part)
        case kind:
            dropped.append(str(kind))


def _add_call(messages: list[Message], item: Body) -> None:
    """A tool call belongs to the message of the assistant before it."""
    function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _tools(body: Body, dropped: list[str]) -> dict[str, Any]:
    tools = []
    for tool, _ in listed(body.get("tools"), "tools"):
        if tool.get("type") == "function":
            function = {key: tool[key] for key in _FUNCTION if tool.get(key) is not None}
            tools.append({"type": "function", "function": function})
        else:
            dropped.append(str(tool.get("type")))
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        choice = _choice(choice)
    if not tools:
        return {}
    result: dict[str, Any] = {"tools": tools} | ({"tool_choice": choice} if choice is not None else {})
    parallel = body.get("parallel_tool_calls")
    return result | ({"parallel_tool_calls": parallel} if parallel is not None else {})


def _choice(choice: Body) -> Any:
    match choice:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode}:
            return mode
    raise unknown("the tool", str(choice.get("type")))


def _text_options(body: Body) -> dict[str, Any]:
    """The format and the length of the text."""
    text = _object(body.get("text"))
    options = {"verbosity": text["verbosity"]} if text.get("verbosity") else {}
    wanted = _object(text.get("format"))
    match wanted.get("type"):
        case "json_schema":
            mapping(wanted.get("schema"), "text.format.schema")
            schema = {key: wanted[key] for key in _SCHEMA if wanted.get(key) is not None}
            return {**options, "response_format": {"type": "json_schema", "json_schema": schema}}
        case "json_object":
            return {**options, "response_format": {"type": "json_object"}}
    return options


def _log_probabilities(body: Body) -> dict[str, Any]:
    if body.get("top_logprobs"):
        return {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    include = body.get("include")
    return {"logprobs": True} if isinstance(include, list) and _LOG_PROBABILITIES in include else {}


def _object(value: Any) -> Body:
    return value if isinstance(value, Mapping) else {}
