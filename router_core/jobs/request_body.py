"""Reads a body of any dialect: its texts, its requirements, the text of an answer. No function raises.

A body comes unchecked from a caller or a provider. A part without the expected shape counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from openfall.router_core.jobs.json_bounds import JsonTooLarge, check_depth, check_values
from openfall.router_core.jobs.reasoning import without_thinking
from openfall.router_core.jobs.response_items import CALLS, FUNCTION_TOOLS, input_messages
from openfall.router_core.jobs.unchecked_json import Body, as_count, as_list, as_object, as_objects
from openfall.router_core.vocabulary import Dialect

_SAMPLING = ("temperature", "top_p", "top_k")
_MAX_TOKENS: Mapping[Dialect, tuple[str, ...]] = {
    "openai": ("max_completion_tokens", "max_tokens"),
    "anthropic": ("max_tokens",),
    "ollama": ("num_predict",),
    "responses": ("max_output_tokens",),
}
_IMAGES = ("image", "image_url", "input_image")
_TOOL_PARTS = ("tool_use", "tool_result")
_THOUGHTS = ("reasoning_text", "summary_text")


def user_texts(body: Body) -> Iterator[str]:
    """The texts of the user's messages, the last message first. Messages without text are left out."""
    for message in reversed(_messages(body)):
        if message.get("role") == "user" and (text := "\n".join(_text_parts(message.get("content")))).strip():
            yield text


def last_user_text(body: Body) -> str:
    """The text of the last user message that has text. Empty: there is none."""
    return next(user_texts(body), "")


def all_text(body: Body) -> Iterator[str]:
    """Every text of a prompt that a model must read: system prompt, messages, tool calls and results, tool definitions.

    It excludes texts that a provider or a chat template may remove before the model reads them: the reasoning of
    earlier answers, and tool definitions that may not be used.
    """
    yield from _text_parts(body.get("system"))
    yield from _text_parts(body.get("instructions"))  # responses
    yield from _text_parts(body.get("suffix"))  # ollama
    for message in _messages(body):
        texts = _texts_with_tools(message.get("content"))
        yield from map(without_thinking, texts) if message.get("role") == "assistant" else texts
        yield from _strings(_tool_calls(message))
    if body.get("tool_choice") not in ("none", {"type": "none"}):
        yield from _strings(body.get("tools") or body.get("functions"))


def has_tools(body: Body) -> bool:
    """Whether it offers tools, or continues a conversation with a tool call. The tools that a provider of Responses
    runs do not count: another provider answers without them."""
    tools = body.get("tools")
    if tools and ("input" not in body or any(tool.get("type") in FUNCTION_TOOLS for tool in as_objects(tools))):
        return True
    if body.get("functions"):  # openai, of old
        return True
    return any(
        message.get("role") == "tool"
        or bool(message.get("tool_calls"))
        or any(part.get("type") in _TOOL_PARTS for part in as_objects(message.get("content")))
        for message in _messages(body)
    )


def has_images(body: Body) -> bool:
    """Whether a message has an image, or a tool returned one."""
    return any(message.get("images") or _has_image(message.get("content")) for message in _messages(body))


def wants_schema(body: Body) -> bool:
    """Whether the answer must match a JSON schema. `json_object` without a schema and `format: json` require less."""
    formats = (
        body.get("response_format"),  # openai
        body.get("output_format"),  # anthropic, and its newer field:
        _get(body.get("output_config"), "format"),
        _get(body.get("text"), "format"),  # responses
    )
    return any(_get(format_, "type") == "json_schema" for format_ in formats) or get_schema(body) is not None


def get_schema(body: Body) -> Any:
    """The JSON Schema that the answer of a request must match; None: the request has none.

    openai: `response_format.json_schema.schema`, or `response_format.schema` as llama-server has it; anthropic:
    `output_format.schema` or `output_config.format.schema`; ollama: `format`, if it is a schema and not the word
    "json"; responses: `text.format.schema`.
    """
    places = (
        _get(_get(body.get("response_format"), "json_schema"), "schema"),
        _get(body.get("response_format"), "schema"),
        _get(body.get("output_format"), "schema"),
        _get(_get(body.get("output_config"), "format"), "schema"),
        _get(_get(body.get("text"), "format"), "schema"),
        body.get("format"),
    )
    return next((schema for schema in places if isinstance(schema, Mapping)), None)


def sampling_parameters(body: Body, dialect: Dialect) -> tuple[str, ...]:
    """Which of temperature, top_p and top_k it sets."""
    parameters = get_parameters(body, dialect)
    return tuple(name for name in _SAMPLING if parameters.get(name) is not None)


def max_tokens(body: Body, dialect: Dialect) -> int | None:
    """The token limit of the answer; None: the request has none."""
    parameters = get_parameters(body, dialect)
    for name in _MAX_TOKENS[dialect]:
        if limit := as_count(parameters.get(name)):
            return limit
    return None


def get_parameters(body: Body, dialect: Dialect) -> Body:
    """The object with sampling parameters and limits: the body itself, or Ollama's `options`."""
    if dialect != "ollama":
        return body
    return as_object(body.get("options"))


def answer_text(body: Body) -> str:
    """The text of a whole response, without tool calls, and without reasoning unless there is nothing else. That of a
    refusal is its words, and that of a sound its transcript. Its shape shows its dialect.

    openai: `choices[0].message`; anthropic: `content`, a list of blocks; ollama: `message`, or `response`; responses:
    `output`, a list of items.
    """
    choices, output = body.get("choices"), as_objects(body.get("output"))
    message = _get(next(iter(choices), None), "message") if isinstance(choices, list) else body.get("message", body)
    if output:
        message = {
            "content": [part for item in output for key in ("summary", "content") for part in as_objects(item.get(key))]
        }
    content = _get(message, "content")
    text = "".join(_text_parts(body.get("response") if content is None else content)) or _refusal_text(message)
    text = text or _transcript(message)
    return text if text or has_tool_call(body) else _reasoning_text(message)


def _refusal_text(message: Any) -> str:
    """The words of a refusal: a field of a message, or parts of its content."""
    refusals = (_get(message, "refusal"), *(part.get("refusal") for part in as_objects(_get(message, "content"))))
    return "".join(text for text in refusals if isinstance(text, str))


def _transcript(message: Any) -> str:
    """The words of an answer that is a sound."""
    transcript = _get(_get(message, "audio"), "transcript")
    return transcript if isinstance(transcript, str) else ""


def _reasoning_text(message: Any) -> str:
    """The reasoning of an answer that consists of nothing else, under the names that providers use."""
    names = ("reasoning_content", "reasoning", "thinking")
    text = next((value for name in names if isinstance(value := _get(message, name), str) and value), "")
    parts = as_objects(_get(message, "content"))
    texts = [part.get("text" if part.get("type") in _THOUGHTS else "thinking") for part in parts]
    return text or "".join(_strings(texts))


def has_tool_call(body: Body) -> bool:
    """Whether a response of any dialect calls a tool."""
    return next(calls_of(body), None) is not None


def calls_of(body: Body) -> Iterator[tuple[Any, Any]]:
    """The name and the arguments of each tool call in a response of any dialect. None: they are not a JSON object.

    The input of a custom tool (openai) is a text.
    """
    calls = [item for item in as_objects(body.get("output")) if item.get("type") in CALLS]
    yield from ((item.get("name"), item["input"]) if "input" in item else _name_and_arguments(item) for item in calls)
    for message in (body.get("message"), *(_get(choice, "message") for choice in as_list(body.get("choices")))):
        for call in as_list(_get(message, "tool_calls")):
            if custom := _get(call, "custom"):
                yield _get(custom, "name"), _get(custom, "input")
            else:
                yield _name_and_arguments(_get(call, "function"))
        if function := _get(message, "function_call"):
            yield _name_and_arguments(function)
    for block in as_objects(body.get("content")):
        if block.get("type") == "tool_use":
            yield block.get("name"), _json_object(block.get("input"))


def tool_schemas(body: Body) -> dict[str, Any]:
    """The schema of the arguments of each tool that a request offers. None: the tool has none.

    openai and ollama: `tools[].function.parameters`; openai: also `functions` and custom tools, whose input is a text;
    anthropic: `tools[].input_schema`; responses: `tools[].parameters`.
    """
    schemas: dict[str, Any] = {}
    for tool in (*as_objects(body.get("tools")), *as_objects(body.get("functions"))):
        if isinstance(name := _get(tool.get("custom"), "name"), str):
            schemas[name] = {"type": "string"}
            continue
        function = tool.get("function") or tool
        if "input" in body and tool.get("type") == "custom":
            function = {**tool, "parameters": {"type": "string"}}
        if isinstance(name := _get(function, "name"), str):
            places = (_get(function, "parameters"), _get(function, "input_schema"))
            schemas[name] = next((schema for schema in places if isinstance(schema, Mapping)), None)
    return schemas


def _name_and_arguments(function: Any) -> tuple[Any, Any]:
    return _get(function, "name"), _json_object(_get(function, "arguments"))


def _json_object(value: Any) -> Any:
    """An object, or the object in a JSON text. No or an empty text is an empty object. None: it is anything else."""
    if isinstance(value, str):
        try:
            value = parse_json(value or "{}")
        except ValueError:
            return None
    return {} if value is None else value if isinstance(value, Mapping) else None


def parse_json(text: str) -> Any:
    """The value of a JSON text. `ValueError` for any other text, also for the constants that only Python reads, and
    `JsonTooLarge` past the bounds: to the document around it this text is one value, however many it has."""
    raw = text.encode("utf-8", "surrogatepass")
    check_values(raw)
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise JsonTooLarge("is nested too deeply") from None
    check_depth(raw, value)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _messages(body: Body) -> list[Body]:
    return as_objects(body.get("messages")) or input_messages(body)


def _text_parts(content: Any) -> Iterator[str]:
    """The written texts: a string, or the parts of type text."""
    if isinstance(content, str):
        yield content
    for part in as_objects(content):
        if part.get("type", "text") in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            yield part["text"]


def _texts_with_tools(content: Any) -> Iterator[str]:
    """The written texts, and the tool texts that a model reads: arguments of calls, texts of results."""
    yield from _text_parts(content)
    for part in as_objects(content):
        if part.get("type") == "tool_use":
            yield from _strings(part.get("input"))
        elif part.get("type") == "tool_result":
            yield from _text_parts(part.get("content"))
        elif part.get("type") == "document":  # anthropic
            source = part.get("source")
            yield from _text_parts(_get(source, "content"))
            yield from _text_parts(_get(source, "data") if _get(source, "type") == "text" else None)


def _tool_calls(message: Body) -> list[Any]:
    return [call.get("function") for call in as_objects(message.get("tool_calls"))]


def _has_image(content: Any) -> bool:
    return any(part.get("type") in _IMAGES or _has_image(part.get("content")) for part in as_objects(content))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys of objects included."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending += (*item.keys(), *item.values())
        elif isinstance(item, list):
            pending += item


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
