"""Validates bodies by the official clients' types. It reads lazy lists to their end, so it checks all of a body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

ANTHROPIC: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
OPENAI: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)


def read(value: Any) -> Any:
    """The value with its lazily checked lists read: that is when they are checked."""
    if isinstance(value, Mapping):
        return {key: read(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [read(inner) for inner in value]
    return value


def known(adapter: TypeAdapter[Any], body: Mapping[str, Any]) -> Any:
    """The request as the types have it. What they do not know is missing from it."""
    return read(adapter.validate_python({"model": "m", **body}))


def message(body: Mapping[str, Any]) -> Message:
    return Message.model_validate(body, strict=True)


def completion(body: Mapping[str, Any]) -> ChatCompletion:
    return ChatCompletion.model_validate(body, strict=True)
