"""Asks an endpoint for embeddings, in as many requests as it needs for all inputs of a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from openfall.router_core.deciding.cost import FREE_ERRORS
from openfall.router_core.jobs.embeddings import embeddings_body, inputs_of, packed_vectors
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.answer_bounds import MAX_STREAM_MEMORY
from openfall.workers.backends.answer_formats import AnswerFormat
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.response_reader import AnswerReader
from openfall.workers.backends.stall_watch import CallWatch

MAX_INPUTS = 64
"""Inputs of one request: with vectors of 4,096 numbers its answer is still within the bounds of one JSON text."""

_REFUSALS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED})
_NAMES_FORMAT = re.compile("encoding_format|base64")


class EmbeddingEndpoint(Protocol):
    """The form of embeddings in a protocol. `body` is for some of a job's inputs."""

    path: str
    answer_format: AnswerFormat
    max_inputs: int

    def body(self, request: Request, inputs: Sequence[Any], *, packed: bool) -> dict[str, Any] | Failure: ...


class EmbeddingCalls:
    """The embeddings of one endpoint. It learns which models refuse packed vectors."""

    def __init__(self, http: HttpClient, endpoint: EmbeddingEndpoint) -> None:
        self._http, self._endpoint = http, endpoint
        self._unpacked: set[str] = set()

    async def embed(self, request: Request, watch: CallWatch) -> Outcome:
        """One vector for each input, in its order. The first failure is that of the whole call, which costs what the
        requests before it cost."""
        inputs, size = inputs_of(request.body), request.max_inputs or self._endpoint.max_inputs
        vectors, memory, model, usage = list[str](), 0, request.upstream, NO_USAGE
        for start in range(0, len(inputs), size):
            some = inputs[start : start + size]
            outcome = await self._embed_some(request, some, watch)
            if isinstance(outcome, Failure):
                return outcome if start == 0 else _after_billed(outcome, usage)
            usage = outcome.usage if start == 0 else _added(usage, outcome.usage)
            own = packed_vectors(outcome.body)
            if len(own) != len(some):
                return replace(malformed(f"the answer has {len(own)} vectors for {len(some)} texts"), usage=usage)
            memory += sum(map(len, own))
            if memory > MAX_STREAM_MEMORY:
                detail = f"its vectors need more than {MAX_STREAM_MEMORY / 2**20:g} MiB: send fewer texts in a request"
                return Failure(error_class=ErrorClass.BAD_REQUEST, detail=detail, usage=usage)
            vectors += own
            model = outcome.body["model"] or model
        if len(set(map(len, vectors))) > 1:
            return replace(malformed("the vectors have different lengths"), usage=usage)
        body = embeddings_body(vectors, model, usage.input_tokens or 0)
        return Completion(text="", finish_reason="stop", usage=usage, body=body)

    async def _embed_some(self, request: Request, inputs: Sequence[Any], watch: CallWatch) -> Outcome:
        packed = request.upstream not in self._unpacked
        outcome = await self._send(request, inputs, watch, packed=packed)
        refused = isinstance(outcome, Failure) and outcome.error_class in _REFUSALS
        if packed and refused and isinstance(outcome, Failure) and _NAMES_FORMAT.search(outcome.detail):
            self._unpacked.add(request.upstream)
            outcome = await self._send(request, inputs, watch, packed=False)
        return outcome

    async def _send(self, request: Request, inputs: Sequence[Any], watch: CallWatch, *, packed: bool) -> Outcome:
        body = self._endpoint.body(request, inputs, packed=packed)
        if isinstance(body, Failure):
            return body
        reader = AnswerReader(self._endpoint.answer_format, watch)
        return await self._http.complete(self._endpoint.path, body, request, reader, {})


def _added(before: Usage, after: Usage) -> Usage:
    """The usage of two requests. What one of them does not report is not known of both."""
    pairs = ((getattr(before, name), getattr(after, name)) for name in ("input_tokens", "output_tokens", "cost_nusd"))
    tokens, written, cost = (None if first is None or second is None else first + second for first, second in pairs)
    return Usage(input_tokens=tokens, output_tokens=written, cost_nusd=cost)


def _after_billed(failure: Failure, billed: Usage) -> Failure:
    """The failure of a request after others that were answered and billed. If it may have been billed too, the cost of
    all is not known."""
    if not failure.never_sent and failure.error_class not in FREE_ERRORS:
        return failure
    return replace(failure, never_sent=False, usage=billed)
