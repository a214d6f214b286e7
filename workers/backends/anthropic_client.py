"""The Anthropic messages protocol: what Anthropic itself, Ollama and llama-server speak at `/v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import (
    Failure,
    Outcome,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)
from openfall.workers.backends.address import Address, checked_key, parse_address
from openfall.workers.backends.anthropic_answer import MessageAssembler, parse_message
from openfall.workers.backends.base import (
    SAMPLING,
    LoadedModel,
    OnDelta,
    Request,
)
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
"""The `anthropic-version` that is spoken unless a backend names another. Pinned: a newer one takes things away."""

WITHOUT_SAMPLING = "2026-10-21"
"""From this version on, temperature, top_p and top_k are refused at every model."""

MAX_TOKENS = 4096
"""The limit of an answer where neither the caller nor the model's settings name one: the protocol demands one. Every
model allows as much, and few answers are longer. Thinking that the caller asked for comes on top."""


class AnthropicBackend:
    """One endpoint that speaks it. `url` is its base, `key` its key (empty: none), `transport` its own."""

    def __init__(self, url: str, key: str, transport: Transport, version: str | None = None) -> None:
        key, place, version = checked_key(key), parse_address(url, PATH), version or VERSION
        self._version = place.version
        self._sampling = version < WITHOUT_SAMPLING
        self._exchange = HttpClient(place, {"anthropic-version": version, **_credentials(key, place)}, transport)

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given. A failure's detail never repeats the prompt."""
        said = translate_request(request, "anthropic")
        if isinstance(said, Failure):
            return said
        body = _body(said, request, sampling=request.sampling_params and self._sampling)
        if on_delta is not None:
            body["stream"] = True
        call = HttpCall(path=self._version + PATH, body=body, timeout=request.timeout, prompt=request.prompt)
        return translate_response(await self._exchange.complete(call, FORMAT, on_delta), request, "anthropic")

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """`/health` is llama-server's; whoever has no such path says so, which is a sign of life too."""
        return await self._exchange.check_alive("/health", timeout_s)

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        return parse_names(
            await self._exchange.fetch_json(f"{self._version}/models?limit=1000", timeout_s), "data", "id"
        )

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        return None

    async def load(self, upstream: str, ctx: int | None, timeout_s: float) -> Failure | None:
        return None

    async def unload(self, upstream: str, timeout_s: float) -> Failure | None:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail="an anthropic endpoint unloads nothing when asked to")

    async def close(self) -> None:
        await self._exchange.close()


def _credentials(key: str, place: Address) -> dict[str, str]:
    """The key where it is looked for: Anthropic reads `x-api-key`; who imitates it, that or the bearer token."""
    if not key:
        return {}
    host = place.root.host or ""
    if host == "anthropic.com" or host.endswith(".anthropic.com"):
        return {"x-api-key": key}
    return {"x-api-key": key, "authorization": f"Bearer {key}"}


def _body(said: Mapping[str, Any], request: Request, *, sampling: bool) -> dict[str, Any]:
    """What was said, as it was, but for the model, the stream, and a limit where it has none."""
    left_out = {"stream"} | (frozenset() if sampling else SAMPLING)
    body = {key: value for key, value in said.items() if key not in left_out}
    body["model"] = request.upstream
    if body.get("max_tokens") is None:
        body["max_tokens"] = (request.max_tokens or MAX_TOKENS) + _thinking(said)
    return body


def _thinking(said: Mapping[str, Any]) -> int:
    """The tokens of thinking that were asked for: they count towards the limit, which must be above them."""
    thinking = said.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if isinstance(budget, int) else 0
