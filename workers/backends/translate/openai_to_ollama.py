"""A caller who speaks OpenAI and a backend that speaks Ollama: the request out, the answer back. Pure.

Left out, for they only tune: logit_bias, verbosity, service_tier, store, prediction, metadata, an image's detail. What
Ollama has no word for and changes what the caller gets: a tool that must be called, at most one call, an image by its
address, sound, files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.json_values import (
    json_object,
    json_text,
    kind,
    listed,
    mapping,
    string,
    unknown,
)
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable
from openfall.workers.backends.translate.request_for_anthropic import REFUSED

Body = Mapping[str, Any]

_OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty", "max_tokens": "num_predict", "max_completion_tokens": "num_predict",
}  # fmt: skip
_AS_IS = ("logprobs", "top_logprobs", "keep_alive")
_EFFORT: Mapping[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
"""Of reasoning, after Ollama's openai/openai.go; its own highest, `max`, is unknown to older servers."""

_DATA = re.compile(r"data:[^,]*;base64,(.+)", re.DOTALL)


def request(body: Body) -> dict[str, Any]:
    """The whole body but for the model, the stream and the context, which the adapter sets."""
    for name, asks in REFUSED.items():
        if name not in _AS_IS and asks(body.get(name)):
            raise Untranslatable(name)
    told: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    told |= {name: body[name] for name in _AS_IS if body.get(name) is not None}
    if tools := _tools(body):
        told["tools"] = tools
    if (asked := _format(body)) is not None:
        told["format"] = asked
    effort = body.get("reasoning_effort")
    if isinstance(effort, str) and effort in _EFFORT:
        told["think"] = _EFFORT[effort]
    options = {theirs: body[ours] for ours, theirs in _OPTIONS.items() if body.get(ours) is not None}
    if stop := body.get("stop"):
        options["stop"] = [stop] if isinstance(stop, str) else stop
    return told | ({"options": options} if options else {})


def answer(body: Body, _request: Body) -> dict[str, Any]:
    """The `chat.completion`. An answer has no id; it gets one from the moment at which it was made."""
    message, moment = body["message"], str(body.get("created_at", ""))
    calls = [_call(call, index) for index, call in enumerate(_objects(message.get("tool_calls")))]
    said = {"role": "assistant", "content": _text(message, "content") or (None if calls else ""), "refusal": None}
    if thought := _text(message, "thinking"):
        said["reasoning_content"] = thought
    reason = body.get("done_reason")
    choice = {
        "index": 0,
        "message": said | ({"tool_calls": calls} if calls else {}),
        "logprobs": {"content": body["logprobs"], "refusal": None} if body.get("logprobs") else None,
        "finish_reason": "length" if reason == "length" else "tool_calls" if calls else "stop",
    }
    read, written = token_count(body, "prompt_eval_count") or 0, token_count(body, "eval_count") or 0
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    named = f"chatcmpl-{re.sub(r'[^0-9A-Za-z]', '', moment)}"
    head = {"id": named, "object": "chat.completion", "created": _epoch(moment), "model": _text(body, "model")}
    return {**head, "choices": [choice], "usage": usage}


def finish(body: Body) -> str:
    """The finish reason of a `chat.completion` that `answer` made."""
    told: str = body["choices"][0]["finish_reason"]
    return told


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    """The results of tools are told with the names of the tools: older servers know no ids."""
    names: dict[str, str] = {}
    for message, place in listed(messages, "messages"):
        role = string(message.get("role"), f"{place}.role")
        if role == "tool":
            yield _result(message, names, place)
            continue
        if role not in ("system", "developer", "user", "assistant"):
            raise unknown("messages of the role", role)
        told = {"role": "system" if role == "developer" else role, **_content(message.get("content"), place)}
        if thought := _text(message, "reasoning_content") or _text(message, "reasoning"):
            told["thinking"] = thought
        calls = [_asked_call(call, where) for call, where in listed(message.get("tool_calls"), f"{place}.tool_calls")]
        names |= {call["id"]: call["function"]["name"] for call in calls}
        yield told | ({"tool_calls": calls} if calls else {})


def _result(message: Body, names: Mapping[str, str], place: str) -> dict[str, Any]:
    called = string(message.get("tool_call_id"), f"{place}.tool_call_id")
    name = _text(message, "name") or names.get(called)
    told = {"role": "tool", **_content(message.get("content"), place), "tool_call_id": called}
    return told | ({"tool_name": name} if name else {})


def _content(content: Any, place: str) -> dict[str, Any]:
    """The text, and the images beside it."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}
    texts, images = [], []
    for part, where in listed(content, f"{place}.content"):
        match kind(part, where):
            case "text" | "refusal" as named:
                texts.append(string(part.get(named), f"{where}.{named}"))
            case "image_url":
                images.append(_image(part.get("image_url"), where))
            case other:
                raise unknown("content of the type", other)
    return {"content": "\n".join(texts)} | ({"images": images} if images else {})


def _image(told: Any, place: str) -> str:
    url = told if isinstance(told, str) else string(mapping(told, f"{place}.image_url").get("url"), f"{place}.url")
    if found := _DATA.fullmatch(url):
        return found[1]
    if url.startswith(("http://", "https://")):
        raise Untranslatable("an image by its address")
    raise Unreadable(f"{place} has a url that is neither http nor data in base64")


def _asked_call(call: Body, place: str) -> dict[str, Any]:
    """A call that the model made earlier. Its arguments are an object here, and a text there."""
    function = mapping(call.get("function"), f"{place}.function")
    arguments = json_object(string(function.get("arguments") or "", f"{place}.function.arguments"))
    if arguments is None:
        raise Untranslatable("a tool call whose arguments are no JSON object")
    named = {"name": string(function.get("name"), f"{place}.function.name"), "arguments": arguments}
    return {"id": string(call.get("id"), f"{place}.id"), "function": named}


def _tools(body: Body) -> list[Body]:
    tools = [tool for tool, _ in listed(body.get("tools"), "tools")]
    for tool in tools:
        if tool.get("type", "function") != "function":
            raise Untranslatable("a tool that is no function")
    choice = body.get("tool_choice")
    if choice == "none":
        return []
    if tools and choice not in (None, "auto"):
        raise Untranslatable("a tool that must be called (tool_choice)")
    if tools and body.get("parallel_tool_calls") is False:
        raise Untranslatable("at most one tool call (parallel_tool_calls)")
    return tools


def _format(body: Body) -> Any:
    told = body.get("response_format")
    if told is None:
        return None
    match mapping(told, "response_format"):
        case {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise Untranslatable("a response_format of its kind")


def _call(call: Body, index: int) -> dict[str, Any]:
    told = call.get("function")
    function = told if isinstance(told, Mapping) else {}
    arguments = json_text(function.get("arguments") or {}, "the arguments of a tool call")
    named = {"name": _text(function, "name"), "arguments": arguments}
    return {"id": _text(call, "id") or f"call_{index}", "type": "function", "function": named}


def _objects(told: Any) -> list[Body]:
    return [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []


def _text(told: Body, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _epoch(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0
