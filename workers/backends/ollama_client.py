"""Ollama's own protocol: chat, generate, and its own requests: list the loaded models, load one, unload one.

Sources: Ollama's server/routes.go, server/sched.go and api/types.go. They imply:
- A prompt that is too long silently loses its oldest messages, unless `truncate` is false.
- The server chooses the context unless `num_ctx` names it. A request with another context than the loaded one reloads
  the model, so all callers of a model should name the same.
- Any other option of its runner, and `shift`, make it load the model again too (needsReload).
- The server responds to an unload at once and unloads later.
- A model in memory has the name of the request that loaded it. Other names of the same digest use it as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.answer_formats import FORMATS
from openfall.workers.backends.base_url import Address, bearer, parse_address
from openfall.workers.backends.call_request import SAMPLING_PARAMETERS, Request
from openfall.workers.backends.embedding_answer import parse_ollama
from openfall.workers.backends.embedding_calls import MAX_INPUTS, EmbeddingCalls
from openfall.workers.backends.exact_json import whole_number
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.model_lists import MAX_NAMES, is_name, parse_names
from openfall.workers.backends.ollama_generate import GENERATE_PATH, as_generate
from openfall.workers.backends.other_model_names import NamesByModel, OtherNames
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.transport import Transport

CHAT_PATH = "/api/chat"
_LATEST = ":latest"
RUNNER_OPTIONS = frozenset(
    {"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"}
)
"""The options of a loaded model (api/types.go, Runner): a call with another value loads the model again."""
_MOVES = frozenset({"keep_alive", "shift"})
"""What else of a request unloads a model or loads it again."""
_POLL_INTERVAL_S = 0.1
_GIB = 2**30


def parse_ollama_address(url: str) -> Address:
    """The address of an Ollama, by the url of any protocol that it serves."""
    return parse_address(url, "/v1/chat/completions", "/v1", CHAT_PATH, GENERATE_PATH, "/api/tags", "/api")


class OllamaEmbeddings:
    """`/api/embed`. A text that is too long is refused, unless the caller lets the server cut it (`truncate`)."""

    path = "/api/embed"
    max_inputs = MAX_INPUTS

    def __init__(self, keep_alive: Mapping[str, Any], *, on_card: bool) -> None:
        self._keep_alive, self._on_card = keep_alive, on_card
        self.answer_format = replace(FORMATS["ollama"], parse=parse_ollama)

    def body(self, request: Request, inputs: Sequence[Any], *, packed: bool) -> dict[str, Any] | Failure:
        if not all(isinstance(value, str) for value in inputs):
            detail = "Ollama embeds texts, not token numbers (LangChain: check_embedding_ctx_length=False)"
            return Failure(error_class=ErrorClass.UNSUPPORTED, detail=detail)
        own = _without_moves(request.body) if self._on_card else request.body
        options = dict(own["options"]) if isinstance(own.get("options"), Mapping) else {}
        if request.ctx is not None:
            options.setdefault("num_ctx", request.ctx)
        kept = {name: own[name] for name in ("dimensions", "keep_alive", "truncate") if own.get(name) is not None}
        start = {"truncate": False, **self._keep_alive}
        return {**start, **kept, "model": request.upstream, "input": list(inputs), "options": options}


class OllamaBackend(HttpBackend):
    """One Ollama, on a machine of its own or in its vendor's cloud (`https://ollama.com`, with a key).

    `keep_in_memory`: seconds for which a model stays in memory after a call. None: as the server is set. `on_card`:
    openfall decides which models are in memory, so no call may make one leave or load it again.
    """

    dialect = "ollama"
    liveness_path = "/api/version"

    def __init__(
        self, url: str, key: str, transport: Transport, keep_in_memory: float | None = None, *, on_card: bool = False
    ) -> None:
        super().__init__(parse_ollama_address(url), CHAT_PATH, bearer(key), transport)
        self._on_card = on_card
        self._keep_alive = {} if keep_in_memory is None else {"keep_alive": ceil(keep_in_memory)}
        if on_card:
            self._keep_alive = {"keep_alive": -1}
        self._other_names = OtherNames(self._fetch_names)
        self._embedding = EmbeddingCalls(self._http, OllamaEmbeddings(self._keep_alive, on_card=on_card))

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any] | Failure:
        """Its options keep a prompt whole. The caller's own `keep_alive` wins over that of the configuration."""
        if not translated.get("messages"):  # to Ollama that is a load, or an unload
            return Failure(error_class=ErrorClass.BAD_REQUEST, detail="there is no message to answer")
        translated = _without_moves(translated) if self._on_card else translated
        given = translated.get("options")
        options = dict(given) if isinstance(given, Mapping) else {}
        if not request.sampling_params:
            options = {key: value for key, value in options.items() if key not in SAMPLING_PARAMETERS}
        for name, value in (("num_ctx", request.ctx), ("num_predict", request.max_tokens)):
            if value is not None:
                options.setdefault(name, value)
        own = as_generate(translated) if request.dialect == self.dialect else None
        whole = {"truncate": False, **self._keep_alive, **(translated if own is None else own)}
        return {**whole, "model": request.upstream, "stream": streamed, "options": options}

    def _path_of(self, body: Mapping[str, Any]) -> str:
        return CHAT_PATH if "messages" in body else GENERATE_PATH

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        """Every name that a request may use: `x:latest` is also `x`."""
        names = parse_names(await self._http.fetch_json("/api/tags", timeout_s))
        if isinstance(names, Failure):
            return names
        return names + tuple(name.removesuffix(_LATEST) for name in names if name.endswith(_LATEST))

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure:
        """The models in `/api/ps`, with all their names. One with a `vram_share` below 1 is partly on the CPU, and
        slow."""
        document = await self._http.fetch_json("/api/ps", timeout_s)
        if isinstance(document, Failure):
            return document
        models = document.get("models") if isinstance(document, dict) else None
        if not isinstance(models, list):
            return malformed("the list of models has no models")
        return tuple(_in_memory(models, await self._other_names.of(set(_digests(models)), timeout_s)))

    async def _fetch_names(self, timeout_s: float) -> NamesByModel:
        """By digest all names of a model."""
        document = await self._http.fetch_json("/api/tags", timeout_s)
        models = document.get("models") if isinstance(document, dict) else None
        names: dict[str, list[str]] = {}
        for model in _named(models) if isinstance(models, list) else ():
            names.setdefault(str(model.get("digest")), []).append(model["name"])
        return {digest: tuple(of_model) for digest, of_model in names.items()}

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        options = {} if ctx is None else {"options": {"num_ctx": ctx}}
        keep_alive = self._keep_alive if self._keep_alive.get("keep_alive") else {}  # 0 would unload it
        return await self._generate({"model": upstream, **options, **keep_alive}, timeout_s)

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        """None once the model is no longer listed. A model in use stays loaded."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        if failure := await self._generate({"model": upstream, "keep_alive": 0}, timeout_s):
            return failure
        while (remaining := deadline - asyncio.get_running_loop().time()) > 0:
            loaded = await self.list_loaded(remaining)
            if isinstance(loaded, Failure):
                return loaded
            if not any(model.is_called(upstream) for model in loaded):
                return None
            await asyncio.sleep(min(_POLL_INTERVAL_S, remaining))
        return Failure(error_class=ErrorClass.TIMEOUT, detail=f"still in memory {timeout_s:g} s after the unload")

    async def _generate(self, body: Mapping[str, Any], timeout_s: float) -> Failure | None:
        """Load or unload a model by a generation without a prompt."""
        response = await self._http.fetch_json(GENERATE_PATH, timeout_s, {**body, "stream": False})
        if isinstance(response, Failure):
            return response
        done = isinstance(response, dict) and response.get("done") is True
        return None if done else malformed("the response does not confirm it")


def _without_moves(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without what would unload a model or load it again: on a card openfall decides that for all callers."""
    kept = {name: value for name, value in body.items() if name not in _MOVES}
    if isinstance(options := kept.get("options"), Mapping):
        kept["options"] = {name: value for name, value in options.items() if name not in RUNNER_OPTIONS}
    return kept


def _named(models: list[Any]) -> Iterator[dict[str, Any]]:
    return (model for model in models[:MAX_NAMES] if isinstance(model, dict) and is_name(model.get("name")))


def _digests(models: list[Any]) -> Iterator[str]:
    return (model["digest"] for model in _named(models) if isinstance(model.get("digest"), str))


def _in_memory(models: list[Any], names: NamesByModel) -> Iterator[LoadedModel]:
    for model in _named(models):
        size, on_card = _bytes(model.get("size")), _bytes(model.get("size_vram", 0))
        yield LoadedModel(
            upstream=model["name"],
            other_names=names.get(str(model.get("digest")), ()),
            vram_gb=on_card / _GIB if size and on_card is not None else None,
            vram_share=min(on_card / size, 1.0) if size and on_card is not None else None,
        )


def _bytes(value: Any) -> int | None:
    return None if isinstance(value, str) else whole_number(value)
