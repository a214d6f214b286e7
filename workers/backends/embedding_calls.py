"""Asks an endpoint for embeddings, in as many requests as it needs for all inputs of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from openfall.router_core.deciding.cost import REFUSED
from openfall.router_core.jobs.embeddings import embeddings_body, inputs_of, pack_vector, packed_vectors
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.answer_bounds import MAX_STREAM_MEMORY
from openfall.workers.backends.base import Request
from openfall.workers.backends.call_watch import CallWatch
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.parsing import malformed, parse_document, token_count
from openfall.workers.backends.response import AnswerReader, ResponseFormat
from openfall.workers.backends.usage import prompt_tokens, read_completion_usage

MAX_INPUTS = 64
"""Inputs of one request: with vectors of 4,096 numbers its answer is still within the bounds of one JSON text."""

_REFUSALS = frozenset({ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED})
_NAMES_FORMAT = re.compile("encoding_format|base64")


class EmbeddingEndpoint(Protocol):
    """The form of embeddings in a protocol. `body` is for some of a job's inputs."""

    path: str
    response_format: ResponseFormat
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
        reader = AnswerReader(self._endpoint.response_format, watch)
        return await self._http.complete(self._endpoint.path, body, request, reader, {})


def _added(before: Usage, after: Usage) -> Usage:
    """The usage of two requests. What one of them does not report is not known of both."""
    pairs = ((getattr(before, name), getattr(after, name)) for name in ("input_tokens", "output_tokens", "cost_nusd"))
    tokens, written, cost = (None if first is None or second is None else first + second for first, second in pairs)
    return Usage(input_tokens=tokens, output_tokens=written, cost_nusd=cost)


def _after_billed(failure: Failure, billed: Usage) -> Failure:
    """The failure of a request after others that were answered and billed. If it may have been billed too, the cost of
    all is not known."""
    if not failure.never_sent and failure.error_class not in REFUSED:
        return failure
    return replace(failure, never_sent=False, usage=billed)


def parse_openai(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 2xx of `/embeddings`, with packed vectors."""
    document = parse_document(body, headers)
    if isinstance(document, Failure):
        return document
    data = _entries(document)
    if not data:
        return malformed("the answer has no embeddings")
    places = [_place(entry) for entry in data]
    if sorted(places) == list(range(len(data))):
        data = [data[places.index(place)] for place in range(len(data))]
    fields = document if isinstance(document, dict) else {}
    return _of_vectors([_vector(entry) for entry in data], fields, prompt_tokens(fields.get("usage")))


def parse_ollama(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200 of `/api/embed`."""
    document = parse_document(body, headers)
    if isinstance(document, Failure):
        return document
    vectors = _entries(document)
    if not vectors or not isinstance(document, dict):
        return malformed("the answer has no embeddings")
    return _of_vectors(
        [_vector(entry) for entry in vectors],
        document,
        token_count({"prompt_eval_count": 0, **document}, "prompt_eval_count"),
    )


def _entries(document: Any) -> list[Any]:
    """The entries of an answer: below `data` (OpenAI), `embeddings` (Ollama, Cohere's `float`), in the `result` or the
    `output` of a gateway, or a bare list (text-embeddings-inference, an older llama-server)."""
    if isinstance(document, list):
        return [document] if document and isinstance(document[0], int | float) else document
    if not isinstance(document, dict):
        return []
    for name in ("data", "embeddings"):
        value = document.get(name)
        value = value.get("float") if isinstance(value, dict) else value
        if isinstance(value, list):
            return value
    inner = next((inner for name in ("result", "output") if isinstance(inner := document.get(name), dict)), None)
    if inner is not None and "result" not in inner and "output" not in inner:
        return _entries(inner)
    return [document] if "embedding" in document else []


def _place(entry: Any) -> int:
    """The number of an entry among the texts; -1: it has none."""
    numbers = (entry.get(name) for name in ("index", "text_index")) if isinstance(entry, dict) else ()
    return next((number for number in numbers if isinstance(number, int)), -1)


def _vector(entry: Any) -> Any:
    """The vector of an entry: the entry itself, its `embedding`, or the `values` of Google."""
    for name in ("embedding", "values"):
        entry = entry.get(name, entry) if isinstance(entry, dict) else entry
    return entry


def _of_vectors(vectors: Sequence[Any], document: Mapping[str, Any], tokens: int | None) -> Outcome:
    packed: list[str] = []
    for vector in vectors:
        if isinstance(vector, list) and vector and isinstance(vector[0], list):
            if len(vector) != 1:
                return malformed("the answer has a vector for each token: start the server with a pooling (`mean`)")
            vector = vector[0]
        if isinstance(vector, str) and vector:
            packed.append(vector)
            continue
        try:
            packed.append(pack_vector(vector))
        except (TypeError, OverflowError):
            return malformed("a vector of the answer is not a list of numbers")
        if not vector:
            return malformed("a vector of the answer is empty")
    model = document.get("model")
    body = embeddings_body(packed, model if isinstance(model, str) else "", tokens)
    usage = replace(read_completion_usage(document), input_tokens=tokens, output_tokens=0)
    return Completion(text="", finish_reason="stop", usage=usage, body=body)


def formatted(base: ResponseFormat, parse: Any) -> ResponseFormat:
    """The format of a protocol's embeddings: its own, with another reader of a whole answer."""
    return replace(base, parse=parse)
