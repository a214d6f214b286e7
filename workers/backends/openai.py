"""The OpenAI chat-completions protocol: what llama-server, vLLM, Ollama, OpenRouter, Gemini and OpenAI all speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from router_core.outcome import ErrorClass, Failure, Outcome
from workers.backends.address import address, checked_key
from workers.backends.answer import names_of
from workers.backends.base import SAMPLING, Loaded, OnDelta, Request
from workers.backends.exchange import Call, Exchange
from workers.backends.framing import Events
from workers.backends.openai_answer import StreamedAnswer, read_completion
from workers.backends.reading import Wire
from workers.backends.translate import answered, spoken

WIRE = Wire(stream_type="text/event-stream", framing=Events, assembly=StreamedAnswer, read=read_completion)
PATH = "/chat/completions"


class OpenAIBackend:
    """One endpoint that speaks it. `url` is its base, `key` its bearer token (empty: none), `transport` its own."""

    def __init__(self, url: str, key: str, transport: httpx.AsyncBaseTransport) -> None:
        key = checked_key(key)
        place = address(url, PATH)
        self._version = place.version
        self._exchange = Exchange(place, {"authorization": f"Bearer {key}"} if key else {}, transport)

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given. A failure's detail never repeats the prompt."""
        said = spoken(request, "openai")
        if isinstance(said, Failure):
            return said
        call = Call(
            path=self._version + PATH, body=_body(said, request, streamed=on_delta is not None),
            timeout=request.timeout, prompt=request.prompt,
        )  # fmt: skip
        return answered(await self._exchange.complete(call, WIRE, on_delta), request, "openai")

    async def alive(self, within: float) -> Failure | None:
        """`/health` is llama-server's and vLLM's; whoever has no such path says so, which is a sign of life too."""
        return await self._exchange.alive("/health", within)

    async def models(self, within: float) -> tuple[str, ...] | Failure:
        return names_of(await self._exchange.document(f"{self._version}/models", within), "data", "id")

    async def loaded(self, within: float) -> tuple[Loaded, ...] | Failure | None:
        return None

    async def load(self, upstream: str, ctx: int | None, within: float) -> Failure | None:
        return None

    async def unload(self, upstream: str, within: float) -> Failure | None:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail="an openai endpoint unloads nothing when asked to")

    async def close(self) -> None:
        await self._exchange.close()


def _body(said: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any]:
    """What was said, as it was, but for the model, the stream, and a limit where it has none."""
    left_out = {"stream", "stream_options"} | (frozenset() if request.sampling_params else SAMPLING)
    body = {key: value for key, value in said.items() if key not in left_out}
    body["model"] = request.upstream
    if streamed:
        options = said.get("stream_options")
        body["stream"] = True
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    if request.max_tokens is not None and "max_tokens" not in body and "max_completion_tokens" not in body:
        body["max_tokens"] = request.max_tokens
    return body
