"""The Anthropic messages protocol: Anthropic, Ollama and llama-server serve it at `/v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.address import Address, checked_key, parse_address
from openfall.workers.backends.anthropic_answer import MessageAssembler, parse_message
from openfall.workers.backends.base import SAMPLING_PARAMETERS, LoadedModel, OnDelta, Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.http_client import HttpCall, HttpClient
from openfall.workers.backends.parsing import parse_names
from openfall.workers.backends.response import ResponseFormat
from openfall.workers.backends.translate import translate_request, translate_response
from openfall.workers.backends.transport import Transport

FORMAT = ResponseFormat(
    stream_type="text/event-stream", framing=SseFraming, assembler=MessageAssembler, parse=parse_message
)
PATH = "/messages"

VERSION = "2023-06-01"
"""The default `anthropic-version`. It is pinned, because a newer version removes parameters."""

WITHOUT_SAMPLING = "2026-10-21"
"""From this version on, every model refuses temperature, top_p and top_k."""

MAX_TOKENS = 4096
"""The limit of an answer if neither the caller nor the model's settings name one: the protocol requires it. Every model
allows as much, and few answers are longer. The thinking that the caller requested is added."""


class AnthropicBackend:
    """One endpoint. `url` is its base, `key` its key (empty: none); it closes its `transport`."""

    def __init__(self, url: str, key: str, transport: Transport, version: str | None = None) -> None:
        key, address, version = checked_key(key), parse_address(url, PATH), version or VERSION
        self._version = address.version
        self._sampling = version < WITHOUT_SAMPLING
        self._http = HttpClient(address, {"anthropic-version": version, **_credentials(key, address)}, transport)

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given. A failure's detail never repeats the prompt."""
        translated = translate_request(request, "anthropic")
        if isinstance(translated, Failure):
            return translated
        body = _body(translated, request, sampling=request.sampling_params and self._sampling)
        if on_delta is not None:
            body["stream"] = True
        call = HttpCall(path=self._version + PATH, body=body, timeout=request.timeout, prompt=request.prompt)
        return translate_response(await self._http.complete(call, FORMAT, on_delta), request, "anthropic")

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """`/health` is llama-server's. A 404 from any other server is a sign of life too."""
        return await self._http.check_alive("/health", timeout_s)

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        return parse_names(await self._http.fetch_json(f"{self._version}/models?limit=1000", timeout_s), "data", "id")

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        return None

    async def load(self, upstream: str, ctx: int | None, timeout_s: float) -> Failure | None:
        return None

    async def unload(self, upstream: str, timeout_s: float) -> Failure | None:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail="an anthropic endpoint cannot unload a model")

    async def close(self) -> None:
        await self._http.close()


def _credentials(key: str, address: Address) -> dict[str, str]:
    """The headers with the key. Anthropic reads `x-api-key`; its imitators read that or the bearer token."""
    if not key:
        return {}
    host = address.root.host or ""
    if host == "anthropic.com" or host.endswith(".anthropic.com"):
        return {"x-api-key": key}
    return {"x-api-key": key, "authorization": f"Bearer {key}"}


def _body(translated: Mapping[str, Any], request: Request, *, sampling: bool) -> dict[str, Any]:
    """The translated request, with the model, and a limit if it has none."""
    omitted = {"stream"} | (frozenset() if sampling else SAMPLING_PARAMETERS)
    body = {key: value for key, value in translated.items() if key not in omitted}
    body["model"] = request.upstream
    if body.get("max_tokens") is None:
        body["max_tokens"] = (request.max_tokens or MAX_TOKENS) + _thinking_budget(translated)
    return body


def _thinking_budget(translated: Mapping[str, Any]) -> int:
    """The requested tokens of thinking. They count towards the limit, which must be above them."""
    thinking = translated.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if isinstance(budget, int) else 0
