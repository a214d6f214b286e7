"""A caller who speaks Ollama and a backend that speaks OpenAI: the request out, the answer back. Pure.

Left out, for they only tune or are about Ollama's memory: the options that only its engines know, num_ctx, keep_alive,
truncate, shift, and `think` where it is no degree. Thoughts of earlier answers are left out: see `messages_for_openai`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.json_values import (
    json_object,
    json_text,
    listed,
    mapping,
    string,
    unknown,
)
from openfall.workers.backends.translate.refusals import Unreadable

Body = Mapping[str, Any]

_OPTIONS = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
"""What is called the same in both."""

_EFFORTS = ("low", "medium", "high")
_STARTS = {"/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""How the base64 of an image begins, by its type; any other is taken for a PNG."""


def request(body: Body) -> dict[str, Any]:
    """The whole body but for the model and the stream, which the adapter sets."""
    told: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    if tools := [tool for tool, _ in listed(body.get("tools"), "tools")]:
        told["tools"] = tools
    told |= {name: body[name] for name in ("logprobs", "top_logprobs") if body.get(name)}
    if (asked := body.get("format")) not in (None, ""):
        told["response_format"] = _format(asked)
    if (think := body.get("think")) in _EFFORTS:
        told["reasoning_effort"] = think
    options = mapping(body.get("options") or {}, "options")
    told |= {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    if stop := options.get("stop"):
        told["stop"] = stop
    limit = options.get("num_predict")
    if isinstance(limit, int) and limit > 0:  # below zero: as many as it takes
        told["max_tokens"] = limit
    return told


def answer(body: Body, _request: Body) -> dict[str, Any]:
    """The last line of a chat, with the whole message in it. `Unreadable` for arguments that are no JSON object."""
    choice, usage, created = body["choices"][0], body.get("usage"), body.get("created")
    message, cut = choice["message"], choice.get("finish_reason") == "length"
    said: dict[str, Any] = {"role": "assistant", "content": _text(message, "content") + _text(message, "refusal")}
    if thought := _text(message, "reasoning_content") or _text(message, "reasoning"):
        said["thinking"] = thought
    if calls := list(_calls(message.get("tool_calls"), cut=cut)):
        said["tool_calls"] = calls
    head = {"model": _text(body, "model"), "created_at": _moment(created), "message": said}
    counts = {
        "prompt_eval_count": token_count(usage, "prompt_tokens"),
        "eval_count": token_count(usage, "completion_tokens"),
    }
    told = head | {"done": True, "done_reason": "length" if cut else "stop"}
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, Mapping) and logprobs.get("content"):
        told["logprobs"] = logprobs["content"]
    return told | {name: told for name, told in counts.items() if told}  # a count of 0 is left out


def finish(body: Body) -> str:
    """Why a chat that `answer` made ended."""
    told: str = body["done_reason"]
    return told


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    """Calls without an id get one; their results, which name no call then, follow in the same order."""
    waiting: list[tuple[str, str]] = []
    for message, place in listed(messages, "messages"):
        role = string(message.get("role"), f"{place}.role").lower()
        if role not in ("system", "user", "assistant", "tool"):
            raise unknown("messages of the role", role)
        told: dict[str, Any] = {"role": role, "content": _content(message, place)}
        calls = [
            _asked_call(call, where, f"call_{place[9:-1]}_{index}")
            for index, (call, where) in enumerate(listed(message.get("tool_calls"), f"{place}.tool_calls"))
        ]
        if calls:
            told |= {"content": told["content"] or None, "tool_calls": calls}
            waiting = [(call["id"], call["function"]["name"]) for call in calls]
        if role == "tool":
            told["tool_call_id"] = _called(message, waiting)
        yield told


def _content(message: Body, place: str) -> Any:
    text = string(message.get("content") or "", f"{place}.content")
    images = message.get("images") or []
    if not isinstance(images, list):
        raise Unreadable(f"{place}.images is not a list")
    if not images:
        return text
    parts = [_image(string(image, f"{place}.images")) for image in images]
    return [*([{"type": "text", "text": text}] if text else []), *parts]


def _image(data: str) -> dict[str, Any]:
    kind = next((kind for start, kind in _STARTS.items() if data.startswith(start)), "png")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}


def _asked_call(call: Body, place: str, given: str) -> dict[str, Any]:
    function = mapping(call.get("function"), f"{place}.function")
    arguments = mapping(function.get("arguments") or {}, f"{place}.function.arguments")
    named = {"name": string(function.get("name"), f"{place}.function.name"), "arguments": json_text(arguments, place)}
    return {"id": _text(call, "id") or given, "type": "function", "function": named}


def _called(message: Body, waiting: list[tuple[str, str]]) -> str:
    """The id of the call that this result belongs to: the one it names, else the first of that tool, or of all."""
    told, name = _text(message, "tool_call_id"), _text(message, "tool_name")
    found = next((call for call in waiting if told == call[0] or (not told and name == call[1])), None)
    if found is None and not told:
        found = waiting[0] if waiting else None
    if found is None:
        return told
    waiting.remove(found)
    return found[0]


def _format(asked: Any) -> dict[str, Any]:
    if asked == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": mapping(asked, "format")}}


def _calls(told: Any, *, cut: bool) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(told if isinstance(told, list) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        arguments = function.get("arguments")
        given = (
            arguments if isinstance(arguments, dict) else json_object(arguments if isinstance(arguments, str) else "")
        )
        if given is None and not cut:
            raise Unreadable("the arguments of a tool call are no JSON object")
        named = {"index": index, "name": _text(function, "name"), "arguments": given or {}}
        yield {"id": _text(call, "id") or f"call_{index}", "function": named}


def _moment(created: Any) -> str:
    """When it was made, which some do not tell: then it is the beginning of time."""
    try:
        moment = datetime.fromtimestamp(created, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _text(told: Body, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""
