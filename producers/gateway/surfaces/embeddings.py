"""OpenAI's embeddings: a job of this kind, served by one model."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.caller_wait import wait_for_answer
from openfall.producers.gateway.encoders.embedding_list import as_json_parts, embedding_list
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import Endpoint, body_of
from openfall.producers.gateway.submission import submit
from openfall.router_core.vocabulary import JobKind

ENTRIES_AT_ONCE = 32
"""Vectors that are written before other callers have their turn: about 5 ms."""


async def create(exchange: Exchange) -> Response:
    """Turn texts into vectors."""
    body = await exchange.body()
    accepted = await submit(exchange, body, "openai", kind=JobKind.EMBEDDING)
    result = await wait_for_answer(exchange, accepted)
    packed = body.get("encoding_format") == "base64"
    answer = await asyncio.to_thread(embedding_list, result, accepted.asked_for, receipt_of(result), packed=packed)
    return await vectors_response(answer, "data", receipt_headers(result, joined=accepted.joined))


async def vectors_response(body: dict[str, Any], name: str, headers: dict[str, str]) -> Response:
    """The response of a body whose list `name` has vectors. It is written in turns with other requests."""
    parts = []
    for number, part in enumerate(as_json_parts(body, name)):
        parts.append(part)
        if number % ENTRIES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Response(b"".join(parts), headers=headers, media_type="application/json")


_INPUT = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "maxItems": 2048, "items": {}}]}
BODY = body_of(
    "input",
    model={"type": "string"},
    input=_INPUT,
    encoding_format={"enum": ["float", "base64"]},
    dimensions={"type": "integer", "minimum": 1},
)
ENDPOINTS = (Endpoint("POST", "/v1/embeddings", create, "Turn texts into vectors.", body=BODY, submits=True),)
