"""A caller who speaks Ollama and a backend that speaks OpenAI: the request out, the answer back."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from workers.backends.translate.refusals import Unreadable

Body = Mapping[str, Any]

_OPTIONS = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")
"""What is called the same. The other options tune engines that only Ollama runs."""

_EFFORTS = frozenset({"low", "medium", "high"})
_STARTS = {"/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""How the base64 of an image begins, by its type; a PNG otherwise."""


def request(body: Body) -> dict[str, Any]:
    """The completion that the body asks for. `Unreadable`."""
    told: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    if body.get("tools"):
        told["tools"] = body["tools"]
    told |= {key: body[key] for key in ("logprobs", "top_logprobs") if body.get(key)}
    if (asked := body.get("format")) not in (None, ""):
        told["response_format"] = _format(asked)
    if (think := body.get("think")) in _EFFORTS:
        told["reasoning_effort"] = think
    options = body.get("options")
    options = options if isinstance(options, Mapping) else {}
    told |= {key: options[key] for key in _OPTIONS if options.get(key) is not None}
    if stop := options.get("stop"):
        told["stop"] = stop
    limit = options.get("num_predict")
    if isinstance(limit, int) and limit > 0:  # below zero: as many as it takes
        told["max_tokens"] = limit
    return told


def answer(told: Body, _asked: Body) -> dict[str, Any]:
    """The last line of a chat, with the whole message in it."""
    [choice, *_] = told["choices"]
    message = choice["message"]
    said: dict[str, Any] = {"role": "assistant", "content": message.get("content") or ""}
    if thought := message.get("reasoning_content") or message.get("reasoning"):
        said["thinking"] = thought
    if calls := message.get("tool_calls"):
        said["tool_calls"] = [_call(*one) for one in enumerate(calls)]
    created, usage = told.get("created"), told.get("usage") or {}
    moment = datetime.fromtimestamp(created if isinstance(created, int | float) else 0, UTC)
    counts = {"prompt_eval_count": usage.get("prompt_tokens"), "eval_count": usage.get("completion_tokens")}
    logprobs = (choice.get("logprobs") or {}).get("content")
    return {
        "model": told.get("model", ""), "created_at": moment.isoformat().replace("+00:00", "Z"), "message": said,
        "done": True, "done_reason": "length" if choice.get("finish_reason") == "length" else "stop",
        **{key: value for key, value in counts.items() if value}, **({"logprobs": logprobs} if logprobs else {}),
    }  # fmt: skip


def finish(body: Body) -> str:
    """Why a chat ended."""
    return str(body["done_reason"])


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    """Calls without an id get one, and their results, which come in the same order, the same one."""
    if not isinstance(messages, list):
        raise Unreadable("messages is no list")
    waiting: deque[tuple[str, str]] = deque()
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise Unreadable(f"messages.{number} has no role")
        told: dict[str, Any] = {"role": message["role"].lower(), "content": _content(message, f"messages.{number}")}
        if message.get("thinking"):
            told["reasoning_content"] = message["thinking"]
        if calls := message.get("tool_calls"):
            place = f"messages.{number}.tool_calls"
            told["tool_calls"] = [
                _asked_call(call, f"call_{number}_{index}", place) for index, call in enumerate(calls)
            ]
            waiting = deque((call["id"], call["function"]["name"]) for call in told["tool_calls"])
        if told["role"] == "tool":
            told["tool_call_id"] = message.get("tool_call_id") or _called(waiting, message.get("tool_name"))
        yield told


def _content(message: Body, place: str) -> Any:
    text, images = message.get("content") or "", message.get("images") or ()
    if not isinstance(text, str):
        raise Unreadable(f"{place}.content is no text")
    if not images:
        return text
    if not all(isinstance(image, str) for image in images):
        raise Unreadable(f"{place}.images are not all base64 texts")
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/{_kind(image)};base64,{image}"}} for image in images
    ]
    return ([{"type": "text", "text": text}] if text else []) + parts


def _kind(image: str) -> str:
    return next((kind for start, kind in _STARTS.items() if image.startswith(start)), "png")


def _asked_call(call: Any, given: str, place: str) -> dict[str, Any]:
    try:
        function = call["function"]
        named = {"name": function["name"], "arguments": json.dumps(function.get("arguments") or {}, ensure_ascii=False)}
        return {"id": call.get("id") or given, "type": "function", "function": named}
    except (KeyError, TypeError, AttributeError):
        raise Unreadable(f"{place} has an entry that is no call of a function") from None


def _called(waiting: deque[tuple[str, str]], name: Any) -> str:
    """The id of the call that this result belongs to: the first of that name, or the first of all."""
    found = next((call for call in waiting if call[1] == name), waiting[0] if waiting else None)
    if found is None:
        return ""
    waiting.remove(found)
    return found[0]


def _format(asked: Any) -> dict[str, Any]:
    if asked == "json":
        return {"type": "json_object"}
    if not isinstance(asked, Mapping):
        raise Unreadable("format is neither 'json' nor a schema")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": asked}}


def _call(index: int, call: Body) -> dict[str, Any]:
    function = call.get("function") or {}
    told = {"index": index, "name": function.get("name", ""), "arguments": _object(function.get("arguments"))}
    return {"id": call.get("id") or f"call_{index}", "function": told}


def _object(arguments: Any) -> dict[str, Any]:
    """Arguments that are no JSON object are what the model wrote all the same: kept under one name."""
    try:
        told = json.loads(arguments or "{}")
    except (ValueError, TypeError):
        told = arguments
    return told if isinstance(told, dict) else {"arguments": told}
