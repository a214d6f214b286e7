"""OpenAI's chat completions: a job in the dialect openai, waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.encoders.chat_completion import completion
from openfall.producers.gateway.encoders.chat_stream import ChatStream
from openfall.producers.gateway.event_stream import EventStream
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import FLAG, MESSAGES, TEXT, Endpoint, body_of
from openfall.producers.gateway.submission import Accepted, submit
from openfall.producers.gateway.waiting import wait_for_answer


async def create(exchange: Exchange) -> Response:
    """Answer a chat completion."""
    body = await exchange.body()
    accepted = await submit(exchange, body, "openai")
    if accepted.streams:
        return await EventStream(exchange, accepted, stream_encoder(exchange, accepted, body)).open()
    del body  # a large one is not kept while its caller waits
    result = await wait_for_answer(exchange, accepted)
    headers = receipt_headers(result, joined=accepted.joined)
    return json_response(completion(result, accepted.asked_for, receipt_of(result)), headers=headers)


def stream_encoder(
    exchange: Exchange, accepted: Accepted, body: Mapping[str, Any], *, legacy: bool = False
) -> ChatStream:
    """The writer of the chunks for this caller."""
    options = body.get("stream_options")
    return ChatStream(
        job_id=accepted.id,
        asked_for=accepted.asked_for,
        created=int(time.time()),
        include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
        keepalive=exchange.header("keepalive") or exchange.caller.keepalive,
        legacy=legacy,
    )


BODY = body_of("messages", model=TEXT, messages=MESSAGES, stream=FLAG)
ENDPOINTS = (Endpoint("POST", "/v1/chat/completions", create, "Answer a chat completion.", body=BODY, submits=True),)
