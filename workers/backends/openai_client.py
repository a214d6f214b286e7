"""The OpenAI chat-completions protocol, which llama-server, vLLM, Ollama, OpenRouter, Gemini and OpenAI serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.address import bearer, parse_address
from openfall.workers.backends.base import SAMPLING_PARAMETERS, Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from openfall.workers.backends.response import ResponseFormat
from openfall.workers.backends.transport import Transport

PATH = "/chat/completions"

OPENAI = "api.openai.com"
"""Its reasoning models refuse `max_tokens`. All its models know `max_completion_tokens`; most other servers do not."""


class OpenAIBackend(HttpBackend):
    """One endpoint. `url` is its base, `key` its bearer token (empty: none)."""

    dialect = "openai"
    response_format = ResponseFormat(
        stream_type="text/event-stream", framing=SseFraming, assembler=CompletionAssembler, parse=parse_completion
    )

    def __init__(self, url: str, key: str, transport: Transport) -> None:
        address = parse_address(url, PATH)
        super().__init__(address, address.version + PATH, bearer(key), transport)
        self._limit = "max_completion_tokens" if address.root.host == OPENAI else "max_tokens"

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any]:
        omitted = {"stream", "stream_options"} | (frozenset() if request.sampling_params else SAMPLING_PARAMETERS)
        body = {key: value for key, value in translated.items() if key not in omitted}
        body["model"] = request.upstream
        if request.dialect != "openai" and "max_tokens" in body:
            body[self._limit] = body.pop("max_tokens")
        if request.max_tokens is not None and "max_tokens" not in body and "max_completion_tokens" not in body:
            body[self._limit] = request.max_tokens
        if streamed:
            options = translated.get("stream_options")
            body["stream"] = True
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body
