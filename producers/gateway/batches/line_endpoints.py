"""The endpoints that a batch may name: how a line becomes a job, and an answer the body of a response."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.batch.files import DROPPED
from openfall.producers.gateway.conversation import request_of
from openfall.producers.gateway.encoders.chat_completion import completion, text_completion
from openfall.producers.gateway.encoders.embedding_list import embedding_list
from openfall.producers.gateway.encoders.message import message
from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.receipt import receipt_of
from openfall.producers.gateway.surfaces.completions import chat_body
from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import Dialect, JobKind

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineEndpoint:
    """`request` makes the body of a job, and raises `Refusal` or `BadRequest`. `answer` makes the body of a response
    from a result, the name that the line asked for, and the body of the line."""

    dialect: Dialect
    request: Callable[[Body], Body]
    answer: Callable[[Result, str, Body], Body]
    kind: JobKind = JobKind.COMPLETION

    def job_body(self, body: Body) -> dict[str, Any]:
        """The body of the job of a line, without what means nothing in a batch."""
        return {key: value for key, value in self.request(body).items() if key not in DROPPED}


def _completion(result: Result, asked_for: str, _: Body) -> Body:
    return completion(result, asked_for, receipt_of(result))


def _text_completion(result: Result, asked_for: str, _: Body) -> Body:
    return text_completion(result, asked_for, receipt_of(result))


def _message(result: Result, asked_for: str, _: Body) -> Body:
    return message(result, asked_for, receipt_of(result))


def _embeddings(result: Result, asked_for: str, body: Body) -> Body:
    return embedding_list(result, asked_for, receipt_of(result), packed=body.get("encoding_format") == "base64")


def _response(result: Result, asked_for: str, body: Body) -> Body:
    head = ResponseHead(result.id, asked_for, int(time.time()), echo_of(body))
    return head.ended(result, receipt_of(result))


def _response_request(body: Body) -> Body:
    """Raises `Refusal`. A line stands for itself: no Response of the gateway is a part of its conversation."""
    if body.get("previous_response_id") is not None:
        message = "a line of a batch continues no Response: send the messages themselves"
        raise Refusal("unsupported", message, "previous_response_id")
    return request_of(body, [])


LINE_ENDPOINTS: Mapping[str, LineEndpoint] = {
    "/v1/chat/completions": LineEndpoint("openai", dict, _completion),
    "/v1/responses": LineEndpoint("responses", _response_request, _response),
    "/v1/completions": LineEndpoint("openai", chat_body, _text_completion),
    "/v1/embeddings": LineEndpoint("openai", dict, _embeddings, JobKind.EMBEDDING),
}
MESSAGES = "/v1/messages"
MESSAGE_ENDPOINT = LineEndpoint("anthropic", dict, _message)


def line_endpoint(url: str) -> LineEndpoint:
    """The endpoint of a batch that was created."""
    return MESSAGE_ENDPOINT if url == MESSAGES else LINE_ENDPOINTS[url]


def line_urls(url: str) -> tuple[str, ...]:
    """What a line may name: the URL, also without its version."""
    return (url, url.removeprefix("/v1"))
