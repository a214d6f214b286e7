"""The endpoints that a batch may name: how a line becomes a job, and an answer the body of a response."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from openfall.producers.gateway.answer import WholeAnswer
from openfall.producers.gateway.conversation import request_of
from openfall.producers.gateway.encoders.chat_completion import completion, text_completion
from openfall.producers.gateway.encoders.embedding_list import embedding_list
from openfall.producers.gateway.encoders.message import message
from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.receipt import receipt_of
from openfall.producers.gateway.surfaces.chat_completions import chat_body
from openfall.producers.local_batches.batch_file_lines import DROPPED
from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import Dialect, JobKind

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineEndpoint:
    """`request` makes the body of a job, and raises `Refusal` or `BadRequest`. `whole_for` returns the function
    that makes the body of a response, for the body of a line."""

    dialect: Dialect
    request: Callable[[Body], Body]
    whole_for: Callable[[Body], WholeAnswer]
    kind: JobKind = JobKind.COMPLETION

    def job_body(self, body: Body) -> dict[str, Any]:
        """The body of the job of a line, without what means nothing in a batch."""
        return {key: value for key, value in self.request(body).items() if key not in DROPPED}

    def answer(self, result: Result, asked_for: str, body: Body) -> Body:
        """The body of the response to a line with this body."""
        return self.whole_for(body)(result, asked_for, receipt_of(result))


def _embeddings(body: Body) -> WholeAnswer:
    return partial(embedding_list, packed=body.get("encoding_format") == "base64")


def _response(body: Body) -> WholeAnswer:
    def response(result: Result, asked_for: str, receipt: dict[str, Any]) -> Body:
        return ResponseHead(result.id, asked_for, int(time.time()), echo_of(body)).ended(result, receipt)

    return response


def _response_request(body: Body) -> Body:
    """Raises `Refusal`. A line stands for itself: no Response of the gateway is a part of its conversation."""
    if body.get("previous_response_id") is not None:
        message = "a line of a batch continues no Response: send the messages themselves"
        raise Refusal("unsupported", message, "previous_response_id")
    return request_of(body, [])


LINE_ENDPOINTS: Mapping[str, LineEndpoint] = {
    "/v1/chat/completions": LineEndpoint("openai", dict, lambda _: completion),
    "/v1/responses": LineEndpoint("responses", _response_request, _response),
    "/v1/completions": LineEndpoint("openai", chat_body, lambda _: text_completion),
    "/v1/embeddings": LineEndpoint("openai", dict, _embeddings, JobKind.EMBEDDING),
}
MESSAGES = "/v1/messages"
MESSAGE_ENDPOINT = LineEndpoint("anthropic", dict, lambda _: message)


def line_endpoint(url: str) -> LineEndpoint:
    """The endpoint of a batch that was created."""
    return MESSAGE_ENDPOINT if url == MESSAGES else LINE_ENDPOINTS[url]


def line_urls(url: str) -> tuple[str, ...]:
    """What a line may name: the URL, also without its version."""
    return (url, url.removeprefix("/v1"))
