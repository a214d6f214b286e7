"""The OpenAI chat-completions protocol, which llama-server, vLLM, Ollama, OpenRouter, Gemini and OpenAI serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.address import checked_key, parse_address
from openfall.workers.backends.base import SAMPLING_PARAMETERS, LoadedModel, OnDelta, Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.http_client import HttpCall, HttpClient
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from openfall.workers.backends.parsing import parse_names
from openfall.workers.backends.response import ResponseFormat
from openfall.workers.backends.translate import translate_request, translate_response
from openfall.workers.backends.transport import Transport

FORMAT = ResponseFormat(
    stream_type="text/event-stream", framing=SseFraming, assembler=CompletionAssembler, parse=parse_completion
)
PATH = "/chat/completions"

OPENAI = "api.openai.com"
"""Its reasoning models refuse `max_tokens`. All its models know `max_completion_tokens`; most other servers do not."""


class OpenAIBackend:
    """One endpoint. `url` is its base, `key` its bearer token (empty: none); it closes its `transport`."""

    def __init__(self, url: str, key: str, transport: Transport) -> None:
        key = checked_key(key)
        address = parse_address(url, PATH)
        self._version = address.version
        self._limit = "max_completion_tokens" if address.root.host == OPENAI else "max_tokens"
        self._http = HttpClient(address, {"authorization": f"Bearer {key}"} if key else {}, transport)

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given. A failure's detail never repeats the prompt."""
        translated = translate_request(request, "openai")
        if isinstance(translated, Failure):
            return translated
        body = _body(translated, request, self._limit)
        if on_delta is not None:
            options = translated.get("stream_options")
            body["stream"] = True
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        call = HttpCall(path=self._version + PATH, body=body, timeout=request.timeout, prompt=request.prompt)
        return translate_response(await self._http.complete(call, FORMAT, on_delta), request, "openai")

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """`/health` is llama-server's and vLLM's. A 404 from any other server is a sign of life too."""
        return await self._http.check_alive("/health", timeout_s)

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        return parse_names(await self._http.fetch_json(f"{self._version}/models", timeout_s), "data", "id")

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        return None

    async def load(self, upstream: str, ctx: int | None, timeout_s: float) -> Failure | None:
        return None

    async def unload(self, upstream: str, timeout_s: float) -> Failure | None:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail="an openai endpoint cannot unload a model")

    async def close(self) -> None:
        await self._http.close()


def _body(translated: Mapping[str, Any], request: Request, limit: str) -> dict[str, Any]:
    """The translated request, with the model, and a limit if it has none."""
    omitted = {"stream", "stream_options"} | (frozenset() if request.sampling_params else SAMPLING_PARAMETERS)
    body = {key: value for key, value in translated.items() if key not in omitted}
    body["model"] = request.upstream
    if request.dialect != "openai" and "max_tokens" in body:
        body[limit] = body.pop("max_tokens")
    if request.max_tokens is not None and "max_tokens" not in body and "max_completion_tokens" not in body:
        body[limit] = request.max_tokens
    return body
