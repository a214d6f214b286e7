"""The OpenAI chat-completions protocol, which llama-server, vLLM, Ollama, OpenRouter, Gemini and OpenAI serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import Outcome
from openfall.workers.backends.answer_formats import FORMATS
from openfall.workers.backends.base_url import Address, bearer, is_azure, parse_address
from openfall.workers.backends.call_request import SAMPLING_PARAMETERS, OnPieces, Request
from openfall.workers.backends.embedding_answer import parse_openai
from openfall.workers.backends.embedding_calls import MAX_INPUTS, EmbeddingCalls
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.responses_client import ResponsesBackend
from openfall.workers.backends.transport import Transport

PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"

MAX_OPENAI_INPUTS = 512
"""OpenAI takes 2,048 texts: the answer to 512 is within the bounds of an answer for each of its models."""

OPENAI = "api.openai.com"
"""Its reasoning models refuse `max_tokens`. All its models know `max_completion_tokens`; most other servers do not."""

PREFIXES = {
    "openrouter.ai": "/api/v1",
    "api.groq.com": "/openai/v1",
    "generativelanguage.googleapis.com": "/v1beta/openai",
    "openai.azure.com": "/openai/v1",
    "cognitiveservices.azure.com": "/openai/v1",
    "services.ai.azure.com": "/openai/v1",
    "api.fireworks.ai": "/inference/v1",
    "api.deepinfra.com": "/v1/openai",
    "dashscope.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-intl.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-us.aliyuncs.com": "/compatible-mode/v1",
    "open.bigmodel.cn": "/api/paas/v4",
    "api.z.ai": "/api/paas/v4",
    "ark.cn-beijing.volces.com": "/api/v3",
    "qianfan.baidubce.com": "/v2",
    "api.cohere.ai": "/compatibility/v1",
    "api.cohere.com": "/compatibility/v1",
    "api.novita.ai": "/openai/v1",
    "api.venice.ai": "/api/v1",
    "models.github.ai": "/inference",
    "models.inference.ai.azure.com": "",
    "api.perplexity.ai": "",
    "api.githubcopilot.com": "",
}
"""Where the APIs begin that do not begin with `/v1`, by the end of their hosts."""

OLLAMA_ONLY = ("options", "keep_alive")
"""Fields of a request to Ollama for embeddings, which its gateway keeps for an Ollama behind it. `truncate: yes`
too."""


class OpenAIEmbeddings:
    """`/embeddings`. Vectors are asked for as base64, which every SDK of OpenAI's does."""

    def __init__(self, path: str, max_inputs: int) -> None:
        self.path, self.max_inputs = path, max_inputs
        self.answer_format = replace(FORMATS["openai"], parse=parse_openai)

    def body(self, request: Request, inputs: Sequence[Any], *, packed: bool) -> dict[str, Any]:
        body = {key: value for key, value in request.body.items() if key not in OLLAMA_ONLY}
        if isinstance(body.get("truncate"), bool):
            del body["truncate"]
        body.update(model=request.upstream, input=inputs, encoding_format="base64")
        if not packed:
            del body["encoding_format"]
        return body


class OpenAIBackend(HttpBackend):
    """One endpoint. `url` is its base, `key` its bearer token (empty: none). `responses`: it takes requests of that API
    as they are. `query`: of each call (`?autoload=false`)."""

    dialect = "openai"

    def __init__(self, url: str, key: str, transport: Transport, *, responses: bool = False, query: str = "") -> None:
        address = parse_address(url, PATH, prefixes=PREFIXES)
        super().__init__(address, address.version + PATH + query, credentials(key, address), transport)
        at_openai = address.root.host == OPENAI
        max_inputs = MAX_OPENAI_INPUTS if at_openai else MAX_INPUTS
        endpoint = OpenAIEmbeddings(address.version + EMBEDDINGS_PATH + query, max_inputs)
        self._embedding = EmbeddingCalls(self._http, endpoint)
        self._limit = "max_completion_tokens" if at_openai else "max_tokens"
        self._responses = ResponsesBackend(address, credentials(key, address), transport) if responses else None

    async def complete(self, request: Request, on_pieces: OnPieces | None = None) -> Outcome:
        if self._responses is not None and request.dialect == "responses":
            return await self._responses.complete(request, on_pieces)
        return await super().complete(request, on_pieces)

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any]:
        omitted = {"stream", "stream_options"} | (frozenset() if request.sampling_params else SAMPLING_PARAMETERS)
        body = {key: value for key, value in translated.items() if key not in omitted}
        body["model"] = request.upstream
        if request.dialect != "openai" and "max_tokens" in body:
            body[self._limit] = body.pop("max_tokens")
        if request.max_tokens is not None and "max_tokens" not in body and "max_completion_tokens" not in body:
            body[self._limit] = request.max_tokens
        if request.service_tier:
            body["service_tier"] = request.service_tier
        if streamed:
            options = translated.get("stream_options")
            body["stream"] = True
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body


def credentials(key: str, address: Address) -> dict[str, str]:
    """The header with the key. Azure reads it from `api-key`. A bearer token is one of its directory's, a JWT."""
    if is_azure(str(address.root)) and not key.startswith("eyJ"):
        return {"api-key": stripped} if (stripped := key.strip()) else {}
    return bearer(key)
