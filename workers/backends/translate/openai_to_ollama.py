"""A caller who speaks OpenAI and a backend that speaks Ollama: the request out, the answer back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from workers.backends.translate.refusals import CannotSay, Unreadable

Body = Mapping[str, Any]

_OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "repeat_penalty": "repeat_penalty", "max_tokens": "num_predict", "max_completion_tokens": "num_predict",
}  # fmt: skip
_AS_IS = ("logprobs", "top_logprobs", "keep_alive")
_EFFORT: Mapping[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
}  # fmt: skip
"""Of reasoning, after Ollama's openai/openai.go; its own highest, `max`, is unknown to older servers."""

_DATA = re.compile(r"data:[^,;]*;base64,(?P<data>.+)", re.DOTALL)


def request(body: Body) -> dict[str, Any]:
    """The chat that the body asks for. `CannotSay`, `Unreadable`."""
    _refuse_unsayable(body)
    told: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    told |= {key: body[key] for key in _AS_IS if body.get(key) is not None}
    if tools := _tools(body):
        told["tools"] = tools
    if (asked := _format(body.get("response_format"))) is not None:
        told["format"] = asked
    if (think := _think(body)) is not None:
        told["think"] = think
    options = {theirs: body[ours] for ours, theirs in _OPTIONS.items() if body.get(ours) is not None}
    if stop := body.get("stop"):
        options["stop"] = [stop] if isinstance(stop, str) else stop
    return told | ({"options": options} if options else {})


def answer(told: Body, _asked: Body) -> dict[str, Any]:
    """The `chat.completion` that an answer is."""
    message = told["message"]
    text, calls = message.get("content") or "", [_call(*one) for one in enumerate(message.get("tool_calls") or ())]
    said: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if message.get("thinking"):
        said["reasoning_content"] = message["thinking"]
    if calls:
        said["tool_calls"] = calls
    reason = "tool_calls" if calls and told.get("done_reason") == "stop" else told.get("done_reason")
    choice: dict[str, Any] = {"index": 0, "message": said, "finish_reason": reason, "logprobs": None}
    if told.get("logprobs"):
        choice["logprobs"] = {"content": told["logprobs"], "refusal": None}
    read, written = told.get("prompt_eval_count", 0), told.get("eval_count", 0)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    moment = str(told.get("created_at", ""))
    return {
        "id": "chatcmpl-" + re.sub(r"\W", "", moment), "object": "chat.completion", "created": _epoch(moment),
        "model": told.get("model", ""), "choices": [choice], "usage": usage,
    }  # fmt: skip


def finish(body: Body) -> str:
    """The finish reason of a `chat.completion`."""
    return str(body["choices"][0]["finish_reason"])


def _refuse_unsayable(body: Body) -> None:
    """What would change what the caller gets, and has no word here."""
    choice = body.get("tool_choice")
    unsayable = {
        "more than one answer (n)": body.get("n") not in (None, 1),
        "a tool that must be called (tool_choice)": choice not in (None, "auto", "none"),
        "at most one tool call (parallel_tool_calls)": bool(body.get("tools"))
        and body.get("parallel_tool_calls") is False,
        "sound (modalities)": "audio" in (body.get("modalities") or ()),
        "a web search": body.get("web_search_options") is not None,
        "functions, the older form of tools,": bool(body.get("functions")),
    }
    for what, asked in unsayable.items():
        if asked:
            raise CannotSay(what)


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(messages, list):
        raise Unreadable("messages is no list")
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise Unreadable(f"{place} has no role")
        role = "system" if message["role"] == "developer" else message["role"]
        told: dict[str, Any] = {"role": role, **_content(message.get("content"), f"{place}.content")}
        if thought := message.get("reasoning_content") or message.get("reasoning"):
            told["thinking"] = thought
        if calls := message.get("tool_calls"):
            told["tool_calls"] = [_asked_call(call, f"{place}.tool_calls.{index}") for index, call in enumerate(calls)]
            names |= {call["id"]: call["function"]["name"] for call in told["tool_calls"] if "id" in call}
        if role == "tool":
            called = str(message.get("tool_call_id", ""))
            name = message.get("name") or names.get(called)
            told |= {"tool_call_id": called} | ({"tool_name": name} if name else {})
        yield told


def _content(content: Any, place: str) -> dict[str, Any]:
    """The text, and the images beside it."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}
    if not isinstance(content, list):
        raise Unreadable(f"{place} is neither a text nor a list of parts")
    texts, images = [], []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "refusal"):
            texts.append(str(part.get(kind, "")))
        elif kind == "image_url":
            images.append(_image(part["image_url"], f"{place}.{number}"))
        elif kind is None:
            raise Unreadable(f"{place}.{number} has no type")
        else:
            raise CannotSay(f"a part of the type {str(kind)[:40]!r}")
    return {"content": "\n".join(texts)} | ({"images": images} if images else {})


def _image(told: Any, place: str) -> str:
    url = told.get("url") if isinstance(told, Mapping) else told
    if not isinstance(url, str):
        raise Unreadable(f"{place} has no url")
    if found := _DATA.fullmatch(url):
        return found["data"]
    raise CannotSay("an image by its address, not its data,")


def _asked_call(call: Any, place: str) -> dict[str, Any]:
    """A call that the model made earlier. Its arguments are an object here, and a string there."""
    try:
        function = call["function"]
        arguments = json.loads(function.get("arguments") or "{}")
        told = {"function": {"name": function["name"], "arguments": arguments}}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Unreadable(f"{place} is no call of a function with JSON arguments") from None
    if not isinstance(arguments, dict):
        raise Unreadable(f"{place}.function.arguments is no object")
    return told | ({"id": call["id"]} if call.get("id") else {})


def _tools(body: Body) -> list[Any]:
    tools = body.get("tools") or []
    if body.get("tool_choice") == "none":
        return []
    for tool in tools:
        if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
            raise CannotSay("a tool that is no function")
    return list(tools)


def _format(told: Any) -> Any:
    if told is None or not isinstance(told, Mapping) or told.get("type") == "text":
        return None
    if told.get("type") == "json_object":
        return "json"
    schema = told.get("json_schema")
    if told.get("type") != "json_schema" or not isinstance(schema, Mapping):
        raise Unreadable("response_format is neither text, json_object nor a json_schema")
    return schema.get("schema") or "json"


def _think(body: Body) -> bool | str | None:
    nested = body.get("reasoning")
    effort = body.get("reasoning_effort") or (nested.get("effort") if isinstance(nested, Mapping) else None)
    return _EFFORT.get(str(effort)) if effort is not None else None


def _call(index: int, call: Body) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    named = {"name": function.get("name", ""), "arguments": arguments}
    return {"id": call.get("id") or f"call_{index}", "type": "function", "function": named}


def _epoch(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0
