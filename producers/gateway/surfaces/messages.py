"""Anthropic's messages: a job in the dialect anthropic, waited for."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.gateway.encoders.message import message
from openfall.producers.gateway.encoders.message_stream import MessageStream
from openfall.producers.gateway.event_stream import EventStream
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import FLAG, MESSAGES, TEXT, Endpoint, body_of
from openfall.producers.gateway.submission import check_model, submit
from openfall.producers.gateway.token_estimate import estimate_tokens
from openfall.producers.gateway.waiting import wait_for_answer
from openfall.producers.prompt import check_messages


async def create(exchange: Exchange) -> Response:
    """Answer a message."""
    body = await exchange.body()
    accepted = await submit(exchange, body, "anthropic")
    if accepted.streams:
        encoder = MessageStream(accepted.id, accepted.asked_for, estimate_tokens(body))
        return await EventStream(exchange, accepted, encoder).open()
    del body  # a large one is not kept while its caller waits
    result = await wait_for_answer(exchange, accepted)
    headers = receipt_headers(result, joined=accepted.joined)
    return json_response(message(result, accepted.asked_for, receipt_of(result)), headers=headers)


async def count_tokens(exchange: Exchange) -> Response:
    """Estimate the tokens of a request. No model is asked: agents send twenty of these at once."""
    body = await exchange.body()
    check_model(exchange, body)
    check_messages(body.get("messages"), "anthropic")
    return json_response({"input_tokens": estimate_tokens(body)}, headers={"x-openfall-estimate": "true"})


BODY = body_of("messages", model=TEXT, messages=MESSAGES, max_tokens={"type": "integer"}, stream=FLAG)
ENDPOINTS = (
    Endpoint("POST", "/v1/messages", create, "Answer a message.", body=BODY, submits=True),
    Endpoint("POST", "/v1/messages/count_tokens", count_tokens, "Estimate the tokens of a request.", body=BODY),
)
