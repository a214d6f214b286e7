"""Translates requests of Ollama's dialect into OpenAI's, and responses back. Pure.

Omitted, since they only tune or concern Ollama's memory: the options that only its engines know, num_ctx, keep_alive,
truncate, shift, and a `think` that is not a degree. The fields of generate alone are omitted, too: `openfall` of the
response names them. Earlier thinking is omitted: see `messages_for_openai`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from openfall.router_core.vocabulary import GENERATE_ONLY
from openfall.workers.backends.parsing import content_text
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import (
    Body,
    json_text,
    listed,
    mapping,
    string,
    text_field,
    unknown,
)
from openfall.workers.backends.translate.openai_parts import IMAGE_STARTS, calls_in, reasoning_in, tool_call
from openfall.workers.backends.translate.refusals import Unreadable
from openfall.workers.backends.translate.request_for_anthropic import JSON_INSTRUCTION
from openfall.workers.backends.usage import completion_tokens, completion_usage, prompt_tokens

_OPTIONS = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
"""The options with the same name in both."""

_EFFORTS = ("low", "medium", "high")


def request(body: Body) -> dict[str, Any]:
    """The body without the model and the stream, which the client sets."""
    result: dict[str, Any] = {"messages": list(_messages(body.get("messages")))}
    if tools := [tool for tool, _ in listed(body.get("tools"), "tools")]:
        result["tools"] = tools
    result |= {name: body[name] for name in ("logprobs", "top_logprobs") if body.get(name)}
    if (wanted := body.get("format")) not in (None, ""):
        result["response_format"] = _format(wanted)
        if wanted == "json" and "json" not in json_text(result["messages"], "messages").lower():  # OpenAI demands it
            result["messages"].insert(0, {"role": "system", "content": JSON_INSTRUCTION})
    if (think := body.get("think")) in _EFFORTS:
        result["reasoning_effort"] = think
    options = mapping(body.get("options") or {}, "options")
    result |= {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    if stop := options.get("stop"):
        result["stop"] = stop
    limit = options.get("num_predict")
    if isinstance(limit, int) and limit > 0:  # below zero: no limit
        result["max_tokens"] = limit
    return result


def response(body: Body, request: Body) -> dict[str, Any]:
    """The last line of a chat, with the whole message. `Unreadable` for arguments that are not a JSON object."""
    choice, usage, created = body["choices"][0], completion_usage(body), body.get("created")
    message, cut = choice["message"], choice.get("finish_reason") == "length"
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": content_text(message.get("content")) + text_field(message, "refusal"),
    }
    if reasoning := reasoning_in(message):
        answer["thinking"] = reasoning
    ids = CallIds.after(request)
    calls = [
        {"id": ids.add_call(call_id), "function": {"index": index, "name": name, "arguments": arguments}}
        for index, (call_id, name, arguments) in enumerate(calls_in(message, cut=cut))
    ]
    if calls:
        answer["tool_calls"] = calls
    head = {"model": text_field(body, "model"), "created_at": _moment(created), "message": answer}
    counts = {
        "prompt_eval_count": prompt_tokens(usage),
        "eval_count": completion_tokens(usage),
    }
    result = head | {"done": True, "done_reason": "length" if cut else "stop"}
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, Mapping) and logprobs.get("content"):
        result["logprobs"] = logprobs["content"]
    if left_out := [name for name in GENERATE_ONLY if request.get(name)]:
        result["openfall"] = {"left_out": left_out}
    return result | {name: count for name, count in counts.items() if count}  # Ollama omits a count of 0


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    """The messages. A call without an id gets one. Its result names the tool, or nothing."""
    ids = CallIds()
    for message, path in listed(messages, "messages"):
        role = string(message.get("role"), f"{path}.role").lower()
        if role not in ("system", "user", "assistant", "tool"):
            raise unknown("messages of the role", role)
        result: dict[str, Any] = {"role": role, "content": _content(message, path)}
        ids.begin_turn()
        calls = [
            _earlier_call(call, part_path, ids)
            for call, part_path in listed(message.get("tool_calls"), f"{path}.tool_calls")
        ]
        if calls:
            result |= {"content": result["content"] or None, "tool_calls": calls}
        if role == "tool":
            given = text_field(message, "tool_call_id")
            result["tool_call_id"] = ids.add_result(given, text_field(message, "tool_name"))
        yield result


def _content(message: Body, path: str) -> Any:
    text = string(message.get("content") or "", f"{path}.content")
    images = message.get("images") or []
    if not isinstance(images, list):
        raise Unreadable(f"{path}.images is not a list")
    if not images:
        return text
    parts = [_image(string(image, f"{path}.images")) for image in images]
    return [*([{"type": "text", "text": text}] if text else []), *parts]


def _image(data: str) -> dict[str, Any]:
    kind = next((kind for start, kind in IMAGE_STARTS.items() if data.startswith(start)), "image/png")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _earlier_call(call: Body, path: str, ids: CallIds) -> dict[str, Any]:
    function = mapping(call.get("function"), f"{path}.function")
    arguments = mapping(function.get("arguments") or {}, f"{path}.function.arguments")
    name = string(function.get("name"), f"{path}.function.name")
    return tool_call(ids.add_call(text_field(call, "id"), name), name, arguments, path)


def _format(wanted: Any) -> dict[str, Any]:
    if wanted == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": mapping(wanted, "format")}}


def _moment(created: Any) -> str:
    """The time of creation; the epoch if the server sends none."""
    try:
        moment = datetime.fromtimestamp(created, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat().replace("+00:00", "Z")
