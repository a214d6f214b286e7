"""Translates requests between Ollama's dialect and Anthropic's through OpenAI's, and adds what that loses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.translate import (
    ollama_to_openai,
    openai_to_ollama,
    request_for_anthropic,
    request_for_openai,
)
from openfall.workers.backends.translate.json_values import Body


def request_for_ollama(body: Body) -> dict[str, Any]:
    """A request of Anthropic's dialect in Ollama's, with the thinking of earlier answers and `top_k`.

    The model chooses how much to think, as at Ollama's own endpoint for this dialect.
    """
    result = openai_to_ollama.request(request_for_openai.request(body))
    answers = (message for message in result["messages"] if message["role"] == "assistant")
    turns = (turn for turn in body.get("messages") or () if turn["role"] == "assistant")
    for message, turn in zip(answers, turns, strict=True):
        if thinking_text := _thinking_text(turn.get("content")):
            message["thinking"] = thinking_text
    if body.get("top_k") is not None:
        result.setdefault("options", {})["top_k"] = body["top_k"]
    result.pop("think", None)  # a model that can think does so by default; another model would refuse the parameter
    thinking = body.get("thinking")
    return result | ({"think": False} if isinstance(thinking, Mapping) and thinking.get("type") == "disabled" else {})


def request_from_ollama(body: Body) -> dict[str, Any]:
    """A request of Ollama's dialect in Anthropic's, with `top_k` and disabled thinking."""
    result = request_for_anthropic.request(ollama_to_openai.request(body))
    options = body.get("options") or {}
    if options.get("top_k") is not None and result.get("thinking", {}).get("type") != "enabled":
        result["top_k"] = options["top_k"]
    return result | ({"thinking": {"type": "disabled"}} if body.get("think") is False else {})


def _thinking_text(content: Any) -> str:
    blocks = content if isinstance(content, list) else []
    return "".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking")
