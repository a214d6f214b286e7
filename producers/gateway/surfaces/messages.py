"""Anthropic's messages: a job in the dialect anthropic, waited for."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.gateway.answer import answer
from openfall.producers.gateway.encoders.message import MessageStream, message
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import FLAG, MESSAGES, TEXT, Endpoint, body_of, json_response
from openfall.producers.gateway.submission import check_model, submit
from openfall.producers.prompt import check_messages
from openfall.router_core.jobs.prompt_tokens import estimate_tokens


async def create(exchange: Exchange) -> Response:
    """Answer a message."""
    body = await exchange.body()
    accepted = await submit(exchange, body, "anthropic")
    prompt_tokens = estimate_tokens(body) if accepted.streams else 0
    del body  # a large one is not kept while its caller waits
    return await answer(exchange, accepted, MessageStream(accepted.id, accepted.asked_for, prompt_tokens), message)


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
