"""The Anthropic messages protocol: Anthropic, Ollama and llama-server serve it at `/v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.catalog.capabilities import known_capabilities
from openfall.workers.backends.base_url import Address, bearer, parse_address
from openfall.workers.backends.call_request import SAMPLING_PARAMETERS, Request
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.thinking import fit_thinking, thinking_tokens, without_unsigned_thinking
from openfall.workers.backends.transport import Transport

PATH = "/messages"

PREFIXES = {"openrouter.ai": "/api/v1"}
"""Where the APIs begin that do not begin with `/v1`, by the end of their hosts."""

VERSION = "2023-06-01"
"""The default `anthropic-version`. It is pinned, because a newer version removes parameters."""

WITHOUT_SAMPLING = "2026-10-21"
"""From this version on, every model refuses temperature, top_p and top_k."""

MAX_TOKENS = 4096
"""The limit of an answer if neither the caller nor the model's settings name one: the protocol requires it. Every model
allows as much, and few answers are longer. The thinking that the caller requested is added."""


class AnthropicBackend(HttpBackend):
    """One endpoint. `url` is its base, `key` its key (empty: none). `bearer_only`: the key is a token."""

    dialect = "anthropic"
    models_path = "/models?limit=1000"

    def __init__(
        self, url: str, key: str, transport: Transport, *, version: str | None = None, bearer_only: bool = False
    ) -> None:
        address, version = parse_address(url, PATH, prefixes=PREFIXES), version or VERSION
        credentials = bearer(key) if bearer_only else _credentials(key, address)
        headers = {"anthropic-version": version, **credentials}
        super().__init__(address, address.version + PATH, headers, transport)
        self._api_version = version

    def _body(self, translated: Mapping[str, Any], request: Request, *, streamed: bool) -> dict[str, Any]:
        own = request.wire_headers if request.dialect == "anthropic" else {}
        sampling = request.sampling_params and own.get("anthropic-version", self._api_version) < WITHOUT_SAMPLING
        omitted = {"stream"} | (frozenset() if sampling else SAMPLING_PARAMETERS)
        body = {key: value for key, value in translated.items() if key not in omitted}
        body["model"] = request.upstream
        if request.dialect != "anthropic":
            body = fit_thinking(body, request.thinking)
        elif known_capabilities(request.upstream).thinking is not None:  # a Claude checks its signatures
            body = without_unsigned_thinking(body)
        if body.get("max_tokens") is None:
            body["max_tokens"] = (request.max_tokens or MAX_TOKENS) + thinking_tokens(translated)
        return body | ({"stream": True} if streamed else {})


def _credentials(key: str, address: Address) -> dict[str, str]:
    """The headers with the key. Anthropic reads `x-api-key`; its imitators read that or the bearer token."""
    if not (key := key.strip()):
        return {}
    at_anthropic = f".{address.root.host}".endswith(".anthropic.com")
    return {"x-api-key": key, **({} if at_anthropic else bearer(key))}
