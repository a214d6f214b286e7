"""OpenAI's legacy completions: the prompt becomes the message of a user, the answer comes back as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.encoders.chat_completion import text_completion
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.event_stream import EventStream
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import FLAG, TEXT, Endpoint, body_of
from openfall.producers.gateway.submission import submit
from openfall.producers.gateway.surfaces.chat import stream_encoder
from openfall.producers.gateway.waiting import wait_for_answer

_UNSUPPORTED = ("echo", "best_of", "suffix", "logprobs")
"""Fields that chat completions do not have. Without them the answer would be another one than the caller expects."""


async def create(exchange: Exchange) -> Response:
    """Continue a prompt."""
    body = await exchange.body()
    accepted = await submit(exchange, chat_body(body), "openai")
    if accepted.streams:
        return await EventStream(exchange, accepted, stream_encoder(exchange, accepted, body, legacy=True)).open()
    del body  # a large one is not kept while its caller waits
    result = await wait_for_answer(exchange, accepted)
    headers = receipt_headers(result, joined=accepted.joined)
    return json_response(text_completion(result, accepted.asked_for, receipt_of(result)), headers=headers)


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


BODY = body_of("prompt", model=TEXT, prompt=TEXT, stream=FLAG)
ENDPOINTS = (Endpoint("POST", "/v1/completions", create, "Continue a prompt (legacy).", body=BODY, submits=True),)
