"""OpenAI's chat completions: a job in the dialect openai, waited for."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.gateway.encoders.chat_completion import completion
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.responses import json_response
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.gateway.submission import submit
from openfall.producers.gateway.waiting import wait_for_answer


async def create(exchange: Exchange) -> Response:
    """Answer a chat completion."""
    body = await exchange.body()
    accepted = await submit(exchange, body, "openai")
    result = await wait_for_answer(exchange, accepted)
    headers = receipt_headers(result, joined=accepted.receipt.joined)
    return json_response(completion(result, accepted.asked_for, receipt_of(result)), headers=headers)


ENDPOINTS = (Endpoint("POST", "/v1/chat/completions", create, "Answer a chat completion."),)
