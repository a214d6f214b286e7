"""The client of a backend, which each wire protocol extends: one call in, one outcome out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import aiohttp

from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.answer_formats import FORMATS
from openfall.workers.backends.base_url import Address
from openfall.workers.backends.call_request import OnPieces, Request
from openfall.workers.backends.decompression import decompressed
from openfall.workers.backends.embedding_calls import EmbeddingCalls
from openfall.workers.backends.exact_json import whole_number
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.model_lists import parse_names
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.plan_headers import read_plan_shares
from openfall.workers.backends.refused_options import RefusedOptions, demands_stream
from openfall.workers.backends.response_reader import AnswerReader
from openfall.workers.backends.stall_watch import CallWatch
from openfall.workers.backends.translate import translate_request, translate_response
from openfall.workers.backends.translate.piece_translation import translated_pieces
from openfall.workers.backends.transport import Transport
from openfall.workers.backends.unusable_answer import refuse_unusable

UNSTREAMED_SECONDS = 600.0
"""How long a server that refused to stream a model gets requests without a stream. Then it may have been updated."""

MAX_REPEATS = 3
"""How often a request is repeated without an option that its server refuses. A server names one at a time."""


class HttpBackend:
    """One endpoint that has all of its models ready. A protocol adds its dialect, its paths and its bodies.

    A method raises nothing for a fault of an upstream or a network: failures are data (`Failure`). It raises only
    `asyncio.CancelledError`, and closes the connection then, which makes engines stop generating.

    It closes its `transport`. `path` is that of a completion. `liveness_path` is llama-server's and vLLM's: a 404 is a
    sign of life too.
    """

    dialect: ClassVar[Dialect]
    liveness_path: ClassVar[str] = "/health"
    models_path: ClassVar[str] = "/models"
    """Below the version of the API."""

    def __init__(self, address: Address, path: str, headers: Mapping[str, str], transport: Transport) -> None:
        self._path, self._version = path, address.version
        self._learned = RefusedOptions(self.dialect)
        self._unstreamed_until: dict[str, float] = {}  # monotonic, by the provider's name of the model
        self._streamed_until: dict[str, float] = {}
        self._http = HttpClient(address, headers, transport)
        self._embedding: EmbeddingCalls | None = None

    async def complete(self, request: Request, on_pieces: OnPieces | None = None) -> Outcome:
        """Make the call. It is streamed when `on_pieces` is given, or the limits of `request.watch` need it. The detail
        of a failure never repeats the prompt.

        A server that refuses an option of openfall's own gets the request once more without it, and then perhaps
        without another one. If it refuses to stream, or demands a stream, each further request has none, or one, for
        `UNSTREAMED_SECONDS`.
        """
        translated = translate_request(request, self.dialect)
        if isinstance(translated, Failure):
            return translated
        if on_pieces is not None:
            on_pieces = translated_pieces(request, self.dialect, on_pieces)
        watch = request.watch or CallWatch(request.timeout)
        streamed = on_pieces is not None or watch.needs_stream
        streamed = streamed or self._streamed_until.get(request.upstream, 0.0) > time.monotonic()
        if streamed and self._unstreamed_until.get(request.upstream, 0.0) > time.monotonic():
            watch.stream_refused, streamed = True, False
        try:
            async with watch.running():
                outcome = await self._send(translated, request, watch, on_pieces, streamed=streamed)
                if streamed and watch.stream_refused:
                    self._unstreamed_until[request.upstream] = time.monotonic() + UNSTREAMED_SECONDS
                    outcome = await self._send(translated, request, watch, on_pieces, streamed=False)
                elif not streamed and demands_stream(outcome):
                    self._streamed_until[request.upstream] = time.monotonic() + UNSTREAMED_SECONDS
                    outcome = await self._send(translated, request, watch, None, streamed=True)
        except TimeoutError:
            outcome = watch.failure()
        return translate_response(outcome, request, self.dialect)

    async def _send(
        self,
        translated: Mapping[str, Any],
        request: Request,
        watch: CallWatch,
        on_pieces: OnPieces | None,
        *,
        streamed: bool,
    ) -> Outcome:
        body = self._body(translated, request, streamed=streamed)
        if isinstance(body, Failure):
            return body
        watch.whole = watch.whole or watch.stream_refused
        headers = request.wire_headers if request.dialect == self.dialect else {}
        for _ in range(1 + MAX_REPEATS):
            body = self._learned.apply(body, request)
            reader = AnswerReader(FORMATS[self.dialect], watch, on_pieces, whole_number(body.get("n")) or 1)
            outcome = await self._http.complete(self._path_of(body), body, request, reader, headers)
            if not isinstance(outcome, Failure) or not self._learned.learn(body, request, outcome):
                break
            watch.stream_refused = False  # it refused an option of the stream
        outcome = refuse_unusable(outcome, reader.wire.dialect)
        if (dialect := reader.wire.dialect) != self.dialect:
            return translate_response(outcome, replace(request, body=body, dialect=self.dialect), dialect)
        return outcome

    async def embed(self, request: Request) -> Outcome:
        """The embeddings of the inputs of a body in OpenAI's form, within the timeout of the whole call. The body of a
        `Completion` has packed vectors."""
        if self._embedding is None:
            detail = f"the {self.dialect} protocol has no embeddings"
            return Failure(error_class=ErrorClass.UNSUPPORTED, detail=detail)
        watch = request.watch or CallWatch(request.timeout)
        try:
            async with watch.running():
                return await self._embedding.embed(request, watch)
        except TimeoutError:
            return watch.failure()

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any] | Failure:
        """The translated request, with the model, the stream, and a limit if it has none."""
        raise NotImplementedError

    def _path_of(self, body: Mapping[str, Any]) -> str:
        return self._path

    async def pass_on(
        self, method: str, path: str, headers: Mapping[str, str], payload: bytes
    ) -> aiohttp.ClientResponse | Failure:
        """The response to a request of any kind, which its reader closes. `path`: below the root, with its query."""
        return await self._http.pass_on(method, path, headers, payload)

    def plan_shares(self, response: aiohttp.ClientResponse) -> tuple[PlanShare, ...]:
        """What the response to a passed request says of the limits of a subscription."""
        return read_plan_shares(response.headers)

    def body_of(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body of a passed response as it arrives, decompressed. Raises `aiohttp.ClientError`."""
        return decompressed(response)

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """Check, at no cost, whether the endpoint responds at all. None: it does."""
        return await self._http.check_alive(self.liveness_path, timeout_s)

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        """The names of the models that the endpoint lists."""
        names = parse_names(await self._http.fetch_json(self._version + self.models_path, timeout_s))
        return names or malformed("its list of models is empty")  # of a gateway, or without a right to read it

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        """The models in memory. None: this endpoint does not say, or has all of its models ready."""
        return None

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        """Load a model into memory. None: it is loaded. An endpoint that has all of its models ready does nothing.

        `epoch`: of the manager of the cards that orders it, 0 for a person. An endpoint that can refuses an older one.
        """
        return None

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        """Unload a model from memory. None: it is unloaded. A `Failure` if the endpoint cannot."""
        detail = f"the {self.dialect} protocol cannot unload a model"
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail=detail)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()
