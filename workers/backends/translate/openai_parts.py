"""Reads and builds the parts of OpenAI's dialect that several translators need. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from openfall.workers.backends.translate.json_values import (
    Body,
    json_object,
    json_text,
    mapping,
    objects,
    optional_string,
    string,
    text_field,
    unknown,
)
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

IMAGE_STARTS = {"/9j/": "image/jpeg", "iVBORw0KGgo": "image/png", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""The type of an image by the beginning of its base64."""
_IMAGE_FIELDS = ("image_url", "image", "url", "data", "base64")
"""Where clients other than OpenAI's and Anthropic's (AI SDK, LangChain, MCP) have an image: its url, or its base64."""


def image_url(part: Body, path: str) -> str:
    """The url of an `image_url` part. Some callers send the url itself in place of the object."""
    value = part.get("image_url")
    if not isinstance(value, str):
        value = string(mapping(value, f"{path}.image_url").get("url"), f"{path}.url")
    return with_type(value)


def with_type(url: str) -> str:
    """The url of data. Some callers send the base64 of an image alone, or escape its last characters."""
    if url.startswith(tuple(IMAGE_STARTS)):
        return f"data:;base64,{url}"
    return url.replace("%3D", "=") if url.startswith("data:") and url[-9:].endswith("%3D") else url


def content_parts(content: Any, path: str) -> Iterator[tuple[Body, str]]:
    """The parts of a content, each in the form of a chat completion. Callers also write texts alone, and the parts of
    Responses and of Anthropic. Reasoning in an earlier answer is left out."""
    for number, part in enumerate(content if isinstance(content, list | tuple) else [content]):
        place = f"{path}[{number}]"
        if isinstance(part, str):
            yield {"type": "text", "text": part}, place
            continue
        if (formed := _formed_part(mapping(part, place))) is not None:
            yield formed, place


def _formed_part(part: Body) -> Body | None:
    """A part in the form of a chat completion; None for reasoning."""
    match part:
        case {"type": "input_text" | "output_text"}:
            return {**part, "type": "text"}
        case {"text": str()} if "type" not in part:
            return {**part, "type": "text"}
        case {"type": "input_image"}:
            return {**part, "type": "image_url"}
        case {"type": "input_file"}:
            return {"type": "file", "file": {key: value for key, value in part.items() if key != "type"}}
        case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}:
            return {**part, "type": "image_url", "image_url": f"data:{kind};base64,{data}"}
        case {"type": "image", "source": {"type": "url", "url": url}}:
            return {**part, "type": "image_url", "image_url": url}
        case {"type": "image"} if image := next((part[name] for name in _IMAGE_FIELDS if part.get(name)), None):
            return {**part, "type": "image_url", "image_url": image}
    return None if part.get("type") in ("thinking", "redacted_thinking", "reasoning") else part


def function_tool(tool: Body, path: str) -> Body:
    """A tool as a chat completion has it. Callers also leave out its type, or write it as for Responses."""
    if tool.get("type", "function") != "function":
        return tool
    function = tool.get("function")
    if function is None and "name" in tool:
        function = {key: value for key, value in tool.items() if key not in ("type", "cache_control")}
    return {**tool, "type": "function", "function": mapping(function, f"{path}.function")}


def tool_choice(choice: Any) -> Any:
    """A `tool_choice` as a chat completion has it. Callers also write those of Mistral, Anthropic and Responses."""
    match choice:
        case {"type": "auto" | "none" | "required" | "any" as word} | str(word):
            return "required" if word == "any" else word
        case {"type": "function" | "tool", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    return choice


def format_wanted(body: Body) -> dict[str, Any] | Literal["json"] | None:
    """The schema that the answer must match, "json" for any JSON object, None for a text. llama-server, Together,
    Fireworks and Cohere have the schema beside the type."""
    wanted = body.get("response_format")
    if wanted is None:
        return None
    match mapping(wanted, "response_format"):
        case {"type": "text"}:
            return None
        case {"type": "json_object" | "json_schema", "schema": dict(schema)}:
            return schema
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise Untranslatable("a response_format of its kind")


INVALID_ARGUMENTS = "INVALID_JSON"
"""Under this name stand the arguments of an earlier call that are no JSON object, as their model wrote them: the model
that goes on reads them beside the error that the tool returned."""


def earlier_call(call: Body, path: str) -> tuple[str, str, dict[str, Any]]:
    """The id (empty if it has none), the name and the arguments of a tool call in an earlier answer."""
    if (call_type := call.get("type", "function")) != "function":
        raise unknown("tool calls of the type", str(call_type))
    function = mapping(call.get("function"), f"{path}.function")
    given = function.get("arguments") or ""
    text = given if isinstance(given, Mapping) else string(given, f"{path}.function.arguments")
    arguments = dict(text) if isinstance(text, Mapping) else json_object(text)
    if arguments is None:
        arguments = {INVALID_ARGUMENTS: text}
    return (
        optional_string(call.get("id"), f"{path}.id"),
        string(function.get("name"), f"{path}.function.name"),
        arguments,
    )


def calls_in(message: Body, *, cut: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The id, the name and the arguments of each tool call in a response.

    Some servers send the arguments as an object, not as its text. `Unreadable` for any other, unless the answer was
    `cut` off.
    """
    for call in objects(message.get("tool_calls")):
        function = call.get("function")
        if not isinstance(function, Mapping):
            continue
        value = function.get("arguments")
        arguments = value if isinstance(value, dict) else json_object(value if isinstance(value, str) else "")
        if arguments is None and not cut:
            raise Unreadable("the arguments of a tool call are not a JSON object")
        yield text_field(call, "id"), text_field(function, "name"), arguments or {}


def reasoning_in(message: Body) -> str:
    """The reasoning before an answer, under the names that servers use."""
    return text_field(message, "reasoning_content") or text_field(message, "reasoning")


def tool_call(call_id: str, name: str, arguments: Any, path: str) -> dict[str, Any]:
    """A tool call. `path` is that of the arguments."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json_text(arguments, path)}}


def completion(
    head: Body, message: Body, finish_reason: str, usage: Body | None, logprobs: Body | None = None
) -> dict[str, Any]:
    """A `chat.completion` with one choice. `head` has its id and its model, and its time of creation if it is known."""
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}
    return {"object": "chat.completion", "created": 0, **head, "choices": [choice], "usage": usage}
