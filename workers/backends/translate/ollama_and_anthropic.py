"""Ollama's dialect and Anthropic's, by way of OpenAI's, and what that alone would lose on the way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.translate import (
    ollama_to_openai,
    openai_to_ollama,
    request_for_anthropic,
    request_for_openai,
    response_from_anthropic,
    response_from_openai,
)

Body = Mapping[str, Any]


def request_for_ollama(body: Body) -> dict[str, Any]:
    """A request in Anthropic's dialect as Ollama's, with the thoughts of earlier answers and `top_k`.

    How much is to be thought is left to the model, as Ollama's own endpoint for this dialect leaves it.
    """
    said = openai_to_ollama.request(request_for_openai.request(body))
    answers = (message for message in said["messages"] if message["role"] == "assistant")
    turns = (turn for turn in body.get("messages") or () if turn["role"] == "assistant")
    for message, turn in zip(answers, turns, strict=True):
        if thought := _thought(turn.get("content")):
            message["thinking"] = thought
    if body.get("top_k") is not None:
        said.setdefault("options", {})["top_k"] = body["top_k"]
    said.pop("think", None)  # a model that can think does unless told not to; of another it would be refused
    thinking = body.get("thinking")
    return said | ({"think": False} if isinstance(thinking, Mapping) and thinking.get("type") == "disabled" else {})


def answer_for_anthropic(body: Body, asked: Body) -> dict[str, Any]:
    """An answer in Ollama's dialect as Anthropic's."""
    return response_from_openai.answer(openai_to_ollama.answer(body, asked), asked)


def request_from_ollama(body: Body) -> dict[str, Any]:
    """A request in Ollama's dialect as Anthropic's, with `top_k` and the wish not to think."""
    said = request_for_anthropic.request(ollama_to_openai.request(body))
    options = body.get("options") or {}
    if options.get("top_k") is not None and said.get("thinking", {}).get("type") != "enabled":
        said["top_k"] = options["top_k"]
    return said | ({"thinking": {"type": "disabled"}} if body.get("think") is False else {})


def answer_for_ollama(body: Body, asked: Body) -> dict[str, Any]:
    """An answer in Anthropic's dialect as Ollama's."""
    return ollama_to_openai.answer(response_from_anthropic.answer(body, asked), asked)


def _thought(content: Any) -> str:
    blocks = content if isinstance(content, list) else []
    return "".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking")
