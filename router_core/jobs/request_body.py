"""What a body says, in any dialect: its words, what it asks for, and the text of an answer. Nothing here ever raises.

A body is what a caller or a provider sent, checked by nobody: what has not the expected shape says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from openfall.router_core.vocabulary import (
    Dialect,
)

Body = Mapping[str, Any]

_SAMPLING = ("temperature", "top_p", "top_k")
_MAX_TOKENS: Mapping[Dialect, tuple[str, ...]] = {
    "openai": ("max_completion_tokens", "max_tokens"),
    "anthropic": ("max_tokens",),
    "ollama": ("num_predict",),
}
_IMAGES = ("image", "image_url", "input_image")
_TOOL_PARTS = ("tool_use", "tool_result")
_REASONING = re.compile(r"\s*<(think|thinking)>(.*?)(</\1>|\Z)", re.DOTALL)
_END_OF_REASONING = re.compile(r"^[ \t]*</(?:think|thinking)>[ \t]*$", re.MULTILINE)
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


def last_user_text(body: Body) -> str:
    """The text of the last message of the user that has any: what the prompt is about. Empty when there is none."""
    for message in reversed(_messages(body)):
        if message.get("role") == "user" and (told := "\n".join(_spoken(message.get("content")))).strip():
            return told
    return ""


def all_text(body: Body) -> Iterator[str]:
    """Every text of a prompt that a model must read: system prompt, messages, tool calls and results, tool definitions.

    Left out is what a provider or a chat template may take away before the model sees it: the reasoning of earlier
    answers, and tool definitions that may not be used.
    """
    yield from _spoken(body.get("system"))
    for message in _messages(body):
        texts = _read(message.get("content"))
        yield from (_THINKING.sub(" ", text) for text in texts) if message.get("role") == "assistant" else texts
        yield from _strings(_called(message))
    if body.get("tool_choice") not in ("none", {"type": "none"}):
        yield from _strings(body.get("tools"))


def has_tools(body: Body) -> bool:
    """Whether it offers tools, or goes on with a conversation in which one was called."""
    if body.get("tools"):
        return True
    return any(
        message.get("role") == "tool"
        or bool(message.get("tool_calls"))
        or any(part.get("type") in _TOOL_PARTS for part in _parts(message.get("content")))
        for message in _messages(body)
    )


def has_images(body: Body) -> bool:
    """Whether a message has an image; also one that a tool returned."""
    return any(message.get("images") or _shows(message.get("content")) for message in _messages(body))


def wants_schema(body: Body) -> bool:
    """Whether the answer must hold a JSON schema. `json_object` and `format: json` ask for less than that."""
    config = body.get("output_config")
    asked = (
        body.get("response_format"),  # openai
        body.get("output_format"),  # anthropic, and its later place:
        config.get("format") if isinstance(config, Mapping) else None,
    )
    if any(isinstance(form, Mapping) and form.get("type") == "json_schema" for form in asked):
        return True
    return isinstance(body.get("format"), Mapping)  # ollama: the schema itself


def get_schema(body: Body) -> Any:
    """The JSON Schema that a request asks its answer to hold, wherever its dialect says so; None: it asks for none.

    openai: `response_format.json_schema.schema`; anthropic: `output_format.schema` or `output_config.format.schema`;
    ollama: `format`, when it is a schema and not the word "json".
    """
    places = (
        _get(_get(body.get("response_format"), "json_schema"), "schema"),
        _get(body.get("output_format"), "schema"),
        _get(_get(body.get("output_config"), "format"), "schema"),
        body.get("format"),
    )
    return next((schema for schema in places if isinstance(schema, Mapping)), None)


def sampling_parameters(body: Body, dialect: Dialect) -> tuple[str, ...]:
    """Which of temperature, top_p and top_k it sets."""
    said = get_parameters(body, dialect)
    return tuple(name for name in _SAMPLING if said.get(name) is not None)


def max_tokens(body: Body, dialect: Dialect) -> int | None:
    """The longest answer it wants, in tokens; None when it does not say."""
    said = get_parameters(body, dialect)
    for name in _MAX_TOKENS[dialect]:
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def get_parameters(body: Body, dialect: Dialect) -> Body:
    """Where a body keeps its sampling parameters and limits: the body itself, or Ollama's `options`."""
    if dialect != "ollama":
        return body
    options = body.get("options")
    return options if isinstance(options, Mapping) else {}


def answer_text(body: Body) -> str:
    """The text of a whole response, without reasoning and tool calls; its dialect is told by its shape.

    openai: `choices[0].message`; anthropic: `content`, a list of blocks; ollama: `message`, or `response`.
    """
    choices = body.get("choices")
    if isinstance(choices, list):
        first = choices[0] if choices and isinstance(choices[0], Mapping) else {}
        message = first.get("message")
    else:
        message = body.get("message", body)
    content = message.get("content") if isinstance(message, Mapping) else None
    if content is None:
        content = body.get("response")
    return "".join(_spoken(content))


def has_tool_call(body: Body) -> bool:
    """Whether a response in any of the dialects asks for a tool."""
    messages = [body.get("message"), *(_get(choice, "message") for choice in _list(body.get("choices")))]
    if any(_get(message, "tool_calls") or _get(message, "function_call") for message in messages):
        return True
    return any(_get(block, "type") == "tool_use" for block in _list(body.get("content")))


def _messages(body: Body) -> list[Body]:
    messages = body.get("messages")
    return [message for message in messages if isinstance(message, Mapping)] if isinstance(messages, list) else []


def _parts(content: Any) -> list[Body]:
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def _spoken(content: Any) -> Iterator[str]:
    """The texts that somebody wrote: a string, or the parts of type text."""
    if isinstance(content, str):
        yield content
    for part in _parts(content):
        if part.get("type") in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            yield part["text"]


def _read(content: Any) -> Iterator[str]:
    """What is spoken, and beside it what a model reads of tools: the arguments of calls, the texts of results."""
    yield from _spoken(content)
    for part in _parts(content):
        if part.get("type") == "tool_use":
            yield from _strings(part.get("input"))
        elif part.get("type") == "tool_result":
            yield from _spoken(part.get("content"))


def _called(message: Body) -> list[Any]:
    calls = message.get("tool_calls")
    return [call.get("function") for call in _parts(calls)]


def _shows(content: Any) -> bool:
    return any(part.get("type") in _IMAGES or _shows(part.get("content")) for part in _parts(content))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys of objects included."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            left += (*item.keys(), *item.values())
        elif isinstance(item, list):
            left += item


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def without_reasoning(text: str) -> str:
    """A text without the reasoning in front of it: `<think>...</think>`, or all up to a `</think>` on its own line."""
    while (reasoning := _REASONING.match(text)) is not None:
        text = text[reasoning.end() :]
    if (end := _END_OF_REASONING.search(text)) is not None and "<think" not in text[: end.start()]:
        text = text[end.end() :]
    return text.strip()
