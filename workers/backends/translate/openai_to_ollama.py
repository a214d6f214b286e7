"""Translates requests of OpenAI's dialect into Ollama's, and responses back. Pure.

Omitted, since they only tune: logit_bias, verbosity, service_tier, store, prediction, metadata, an image's detail.
Untranslatable, since they change the result and Ollama lacks them: a required tool call, at most one call, an image by
its address, audio, files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import (
    Body,
    kind,
    listed,
    objects,
    optional_string,
    string,
    text_field,
    unknown,
)
from openfall.workers.backends.translate.older_functions import with_newer_tools, with_tool_calls
from openfall.workers.backends.translate.openai_parts import (
    completion,
    content_parts,
    earlier_call,
    format_wanted,
    function_tool,
    image_url,
    reasoning_in,
    tool_call,
    tool_choice,
)
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.request_for_anthropic import REFUSED
from openfall.workers.backends.translate.schemas import object_schema

_OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty", "max_tokens": "num_predict", "max_completion_tokens": "num_predict",
}  # fmt: skip
_INTEGERS = ("num_predict", "seed", "top_k")
_AS_IS = ("logprobs", "top_logprobs", "keep_alive")
_EFFORT: Mapping[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
"""The effort of reasoning, as in Ollama's openai/openai.go. Older servers do not know its highest, `max`."""

_DATA = re.compile(r"data:[^,]*;base64,(.+)", re.DOTALL | re.IGNORECASE)


def request(body: Body) -> dict[str, Any]:
    """The body without the model, the stream and the context, which the client sets."""
    body = with_newer_tools(body)
    for name, is_set in REFUSED.items():
        if name not in _AS_IS and is_set(body.get(name)):
            raise Untranslatable(name)
    result: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    result |= {name: body[name] for name in _AS_IS if body.get(name) is not None}
    if tools := _tools(body):
        result["tools"] = tools
    if (wanted := format_wanted(body)) is not None:
        result["format"] = wanted
    effort = body.get("reasoning_effort")
    if isinstance(effort, str) and effort in _EFFORT:
        result["think"] = _EFFORT[effort]
    options = {theirs: _as_whole(theirs, body[ours]) for ours, theirs in _OPTIONS.items() if body.get(ours) is not None}
    stop = body.get("stop")
    texts = stop if isinstance(stop, list) else [stop]
    if stops := [text for text in texts if text]:  # Ollama would stop at an empty one before the first word
        options["stop"] = stops
    return result | ({"options": options} if options else {})


def _as_whole(name: str, value: Any) -> Any:
    """The value of an option. Ollama refuses `50.0` for an integer."""
    return int(value) if name in _INTEGERS and isinstance(value, float) and value.is_integer() else value


def response(body: Body, request: Body) -> dict[str, Any]:
    """The `chat.completion`. Ollama sends no id; the time of creation gives one."""
    message, moment, ids = body["message"], str(body.get("created_at", "")), CallIds.after(request)
    calls = [_call(call, ids) for call in objects(message.get("tool_calls"))]
    content = text_field(message, "content") or (None if calls else "")
    answer = {"role": "assistant", "content": content, "refusal": None}
    if thinking := text_field(message, "thinking"):
        answer["reasoning_content"] = thinking
    cut = body.get("done_reason") == "length"
    prompt, output = token_count(body, "prompt_eval_count") or 0, token_count(body, "eval_count") or 0
    completion_id = f"chatcmpl-{re.sub(r'[^0-9A-Za-z]', '', moment)}"
    return completion(
        {"id": completion_id, "created": _epoch(moment), "model": text_field(body, "model")},
        answer | ({"tool_calls": calls} if calls else {}),
        "length" if cut else "tool_calls" if calls else "stop",
        {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
        {"content": body["logprobs"], "refusal": None} if body.get("logprobs") else None,
    )


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    """The messages. Results of tools carry the names of the tools, since older servers know no ids."""
    names: dict[str, str] = {}
    ids = CallIds()
    for message, path in with_tool_calls(messages):
        role = string(message.get("role"), f"{path}.role").lower()
        if role == "tool":
            yield _result(message, names, path, ids)
            continue
        if role not in ("system", "developer", "user", "assistant"):
            raise unknown("messages of the role", role)
        result = {"role": "system" if role == "developer" else role, **_content(message.get("content"), path)}
        if reasoning := reasoning_in(message):
            result["thinking"] = reasoning
        ids.begin_turn()
        calls = [
            _earlier_call(call, part_path, ids)
            for call, part_path in listed(message.get("tool_calls"), f"{path}.tool_calls")
        ]
        names |= {call["id"]: call["function"]["name"] for call in calls}
        yield result | ({"tool_calls": calls} if calls else {})


def _result(message: Body, names: Mapping[str, str], path: str, ids: CallIds) -> dict[str, Any]:
    name = text_field(message, "name")
    called = ids.add_result(optional_string(message.get("tool_call_id"), f"{path}.tool_call_id"), name)
    name = name or names.get(called, "")
    result = {"role": "tool", **_content(message.get("content"), path), "tool_call_id": called}
    return result | ({"tool_name": name} if name else {})


def _content(content: Any, path: str) -> dict[str, Any]:
    """The text, and the images beside it."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}
    texts, images = [], []
    for part, part_path in content_parts(content, f"{path}.content"):
        match kind(part, part_path):
            case "text" | "refusal" as named:
                texts.append(string(part.get(named), f"{part_path}.{named}"))
            case "image_url":
                images.append(_image(part, part_path))
            case other:
                raise unknown("content of the type", other)
    return {"content": "\n".join(texts)} | ({"images": images} if images else {})


def _image(part: Body, path: str) -> str:
    url = image_url(part, path)
    if match := _DATA.fullmatch(url):
        return match[1]
    if url.startswith(("http://", "https://")):
        raise Untranslatable("an image by its address")
    raise Unreadable(f"{path} has a url that is neither http nor data in base64 (data:image/png;base64,...)")


def _earlier_call(call: Body, path: str, ids: CallIds) -> dict[str, Any]:
    """A call of an earlier answer. Its arguments are an object at Ollama, and a text at OpenAI."""
    call_id, name, arguments = earlier_call(call, path)
    return {"id": ids.add_call(call_id, name), "function": {"name": name, "arguments": arguments}}


def _tools(body: Body) -> list[Body]:
    tools = [function_tool(tool, path) for tool, path in listed(body.get("tools"), "tools")]
    for tool in tools:
        if tool.get("type", "function") != "function":
            raise Untranslatable("a tool that is not a function")
    choice = tool_choice(body.get("tool_choice"))
    match choice:
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(allowed)}}:
            choice, names = "auto", [_function_name(tool) for tool in allowed]
            tools = [tool for tool in tools if _function_name(tool) in names]
    if choice == "none":
        return []
    if tools and choice not in (None, "auto"):
        raise Untranslatable("a tool that must be called (tool_choice)")
    if tools and body.get("parallel_tool_calls") is False:
        raise Untranslatable("at most one tool call (parallel_tool_calls)")
    return list(map(_with_object, tools))


def _function_name(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def _with_object(tool: Body) -> Body:
    """A tool whose arguments have an object at their root: Ollama reads nothing else there."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    return {**tool, "function": {**function, "parameters": object_schema(function.get("parameters"))}}


def _call(call: Body, ids: CallIds) -> dict[str, Any]:
    value = call.get("function")
    function = value if isinstance(value, Mapping) else {}
    call_id, arguments = text_field(call, "id"), function.get("arguments") or {}
    return tool_call(ids.add_call(call_id), text_field(function, "name"), arguments, "the arguments of a tool call")


def _epoch(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0
