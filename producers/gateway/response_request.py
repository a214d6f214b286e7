"""A request of OpenAI's Responses as one of its chat completions. Pure.

What chat completions have no form for is left out and named: programs send hosted tools that they do not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.gateway.error_table import Refusal

Body = Mapping[str, Any]
Message = dict[str, Any]

_SAME = (
    "model", "temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier", "prompt_cache_key", "metadata",
    "service_tier", "presence_penalty", "frequency_penalty", "seed", "stop", "stream",
)  # fmt: skip
"""Fields with the same name and meaning in both."""
_FUNCTION = ("name", "description", "parameters", "strict")
_ROLES = {"developer": "system"}
_UNSUPPORTED = ("conversation", "prompt")
"""Fields that name something that is stored at OpenAI."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The body of a chat completion, and the names of what it leaves out."""

    body: dict[str, Any]
    left_out: tuple[str, ...]


def chat_request(body: Body, earlier: Iterable[Message] = ()) -> ChatRequest:
    """The chat completion that asks for the same. `earlier` are the messages of the response before it.

    Raises `Refusal`.
    """
    for name in _UNSUPPORTED:
        if body.get(name) is not None:
            raise Refusal("unsupported", f"`{name}` is stored at OpenAI: send the messages themselves", name)
    left_out: list[str] = []
    chat = {name: body[name] for name in _SAME if body.get(name) is not None}
    instructions = body.get("instructions")
    system = [{"role": "system", "content": instructions}] if isinstance(instructions, str) and instructions else []
    chat["messages"] = [*system, *earlier, *_messages(body.get("input"), left_out)]
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    chat |= _tools(body, left_out)
    chat |= _text_options(body)
    effort = _object(body.get("reasoning")).get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    if body.get("top_logprobs"):
        chat |= {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    return ChatRequest(chat, tuple(dict.fromkeys(left_out)))


def _messages(items: Any, left_out: list[str]) -> list[Message]:
    """The messages of an `input`: a text, or a list of items. Raises `Refusal`."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if not isinstance(items, list):
        raise Refusal("bad_request", "`input` must be text, or a list of items", "input")
    messages: list[Message] = []
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise Refusal("bad_request", f"input[{number}] must be an object, not {type(item).__name__}", "input")
        _add_item(messages, item, number, left_out)
    return messages


def _add_item(messages: list[Message], item: Body, number: int, left_out: list[str]) -> None:
    kind = item.get("type") or ("message" if "role" in item else None)
    match kind:
        case "message":
            messages.append(_message(item, number, left_out))
        case "function_call":
            _add_call(messages, item)
        case "function_call_output":
            output = _content(item.get("output"), number, left_out)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
        case "reasoning":
            pass  # chat completions take no reasoning back
        case "item_reference":
            raise Refusal(
                "unsupported", f"input[{number}] refers to an item that is stored at OpenAI: send it", "input"
            )
        case _:
            left_out.append(str(kind))


def _message(item: Body, number: int, left_out: list[str]) -> Message:
    role = item.get("role")
    if not isinstance(role, str) or not role:
        raise Refusal("bad_request", f"input[{number}] has no role", "input")
    return {"role": _ROLES.get(role, role), "content": _content(item.get("content"), number, left_out)}


def _content(content: Any, number: int, left_out: list[str]) -> Any:
    """The content of a message: text as it is, parts in their other form. Raises `Refusal`."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refusal("bad_request", f"input[{number}] has no content: write text, or a list of parts", "input")
    parts = list(_parts(content, left_out))
    only_text = all(part["type"] == "text" for part in parts)
    return "\n".join(part["text"] for part in parts) if only_text else parts


def _text(part: Body, name: str) -> str:
    text = part.get(name) or ""
    if not isinstance(text, str):
        raise Refusal("bad_request", f"the {name} of a part of the input is not a text", "input")
    return text


def _parts(content: list[Any], left_out: list[str]) -> Iterator[Message]:
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        match kind:
            case "input_text" | "output_text" | "text":
                yield {"type": "text", "text": _text(part, "text")}
            case "refusal":
                yield {"type": "text", "text": _text(part, "refusal")}
            case "input_image" if part.get("image_url"):
                detail = {"detail": part["detail"]} if part.get("detail") else {}
                yield {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
            case "input_file" if part.get("file_data"):
                yield {"type": "file", "file": {key: part[key] for key in ("file_data", "filename") if key in part}}
            case "input_audio":
                yield dict(part)
            case _:
                left_out.append(str(kind))


def _add_call(messages: list[Message], item: Body) -> None:
    """A tool call belongs to the message of the assistant before it."""
    function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _tools(body: Body, left_out: list[str]) -> dict[str, Any]:
    """The tools and their choice. Raises `Refusal` if the choice demands a tool that is left out."""
    tools, given = [], body.get("tools")
    for tool in given if isinstance(given, list) else []:
        if not isinstance(tool, Mapping):
            raise Refusal("bad_request", "a tool must be an object", "tools")
        if tool.get("type") == "function":
            fields = ("name", "description", "parameters", "strict")
            tools.append(
                {"type": "function", "function": {key: tool[key] for key in fields if tool.get(key) is not None}}
            )
        else:
            left_out.append(str(tool.get("type")))
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        if choice.get("type") != "function":
            raise Refusal("unsupported", f"no model here has the tool {choice.get('type')!r}", "tool_choice")
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if not tools:
        return {}
    return {"tools": tools, **({"tool_choice": choice} if choice is not None else {})}


def _text_options(body: Body) -> dict[str, Any]:
    """The format and the length of the text."""
    text = _object(body.get("text"))
    options = {"verbosity": text["verbosity"]} if text.get("verbosity") else {}
    form = _object(text.get("format"))
    match form.get("type"):
        case "json_schema":
            fields = ("name", "description", "schema", "strict")
            schema = {key: form[key] for key in fields if form.get(key) is not None}
            return {**options, "response_format": {"type": "json_schema", "json_schema": schema}}
        case "json_object":
            return {**options, "response_format": {"type": "json_object"}}
    return options


def _object(value: Any) -> Body:
    return value if isinstance(value, Mapping) else {}
