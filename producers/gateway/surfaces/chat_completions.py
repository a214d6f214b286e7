"""OpenAI's chat completions, and its legacy completions, whose prompt becomes the message of a user."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.answer import answer
from openfall.producers.gateway.encoders.chat_completion import ChatStream, completion, text_completion
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import FLAG, MESSAGES, TEXT, Endpoint, body_of
from openfall.producers.gateway.submission import submit

_UNSUPPORTED = ("echo", "best_of", "suffix", "logprobs")
"""Fields that chat completions do not have. Without them the answer would be another one than the caller expects."""


async def chat(exchange: Exchange) -> Response:
    """Answer a chat completion."""
    return await _answer(exchange, await exchange.body(), legacy=False)


async def complete(exchange: Exchange) -> Response:
    """Continue a prompt."""
    return await _answer(exchange, chat_body(await exchange.body()), legacy=True)


async def _answer(exchange: Exchange, body: dict[str, Any], *, legacy: bool) -> Response:
    accepted = await submit(exchange, body, "openai")
    options = body.get("stream_options")
    encoder = ChatStream(
        job_id=accepted.id,
        asked_for=accepted.asked_for,
        created=int(time.time()),
        include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
        keepalive=exchange.header("keepalive") or exchange.caller.keepalive,
        legacy=legacy,
    )
    del body  # a large one is not kept while its caller waits
    return await answer(exchange, accepted, encoder, text_completion if legacy else completion)


def chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat completion that asks for the same. Raises `Refusal`."""
    for name in _UNSUPPORTED:
        if body.get(name) and (name, body[name]) != ("best_of", body.get("n") or 1):
            message = f"`{name}` is unknown to chat completions, as which the prompt is sent to a model: leave it out"
            raise Refusal("unsupported", message, name)
    chat = {name: value for name, value in body.items() if name not in ("prompt", *_UNSUPPORTED)}
    return {**chat, "messages": [{"role": "user", "content": _prompt(body)}]}


def _prompt(body: Mapping[str, Any]) -> str:
    """The prompt. Raises `Refusal` unless it is one text."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        message = "`prompt` must be one text that is not empty: send several prompts as several requests"
        raise Refusal("bad_request", message, "prompt")
    return prompt


_STREAMED: Mapping[str, Any] = {"model": TEXT, "stream": FLAG}
CHAT, PROMPT = body_of("messages", messages=MESSAGES, **_STREAMED), body_of("prompt", prompt=TEXT, **_STREAMED)
ENDPOINTS = (
    Endpoint("POST", "/v1/chat/completions", chat, "Answer a chat completion.", body=CHAT, submits=True),
    Endpoint("POST", "/v1/completions", complete, "Continue a prompt (legacy).", body=PROMPT, submits=True),
)
