"""Ollama's `/api/generate`, for requests with fields that its chat lacks. Its answers are read as a chat's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.vocabulary import GENERATE_ONLY

GENERATE_PATH = "/api/generate"
_ROLES = (["user"], ["system", "user"])
_ANSWER = {"response": "content", "thinking": "thinking"}
"""Fields of an answer of generate, and of the message of a chat."""


def as_generate(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of a generate. None: it is a chat.

    Only one prompt, with or without a system prompt, can be one. To Ollama an empty prompt is a load.
    """
    if not any(name in body for name in GENERATE_ONLY):
        return None
    messages = body["messages"]
    *system, user = messages
    if [message.get("role") for message in messages] not in _ROLES or not user.get("content"):
        return None
    kept = {name: value for name, value in body.items() if name != "messages" and (value or name not in GENERATE_ONLY)}
    if system:
        kept["system"] = system[0].get("content") or ""
    if user.get("images"):
        kept["images"] = user["images"]
    return {**kept, "prompt": user["content"]}


def as_chat(document: dict[str, Any]) -> dict[str, Any]:
    """An answer of generate, or a line of its stream, in the form of a chat. One of a chat stays as it is."""
    if "message" in document or "response" not in document:
        return document
    kept = {name: value for name, value in document.items() if name not in _ANSWER}
    message = {own: document[name] for name, own in _ANSWER.items() if name in document}
    return {**kept, "message": {"role": "assistant", **message}}
