"""Opens the client of a backend by its protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from yarl import URL

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.catalog.catalog import Catalog
from openfall.workers.backends.anthropic_client import AnthropicBackend
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.loader_clients import LOADERS
from openfall.workers.backends.ollama_client import OllamaBackend
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.transport import Transport

PROTOCOLS: Mapping[Protocol, Callable[[Backend, str, Transport], HttpBackend]] = {
    "openai": lambda spec, key, transport: OpenAIBackend(spec.url, key, transport, responses=spec.responses),
    "anthropic": lambda spec, key, transport: AnthropicBackend(
        spec.url, key, transport, version=spec.api_version, bearer_only=spec.has_auth_token
    ),
    "ollama": lambda spec, key, transport: OllamaBackend(
        spec.url, key, transport, spec.keep_in_memory, on_card=spec.vram_gb is not None
    ),
}

Clients = Mapping[tuple[str, str], HttpBackend]
"""The clients of some backends: one for each backend and name of a key (empty: the backend has none)."""


def open_clients(catalog: Catalog, names: Iterable[str]) -> dict[tuple[str, str], HttpBackend]:
    """A client for each key of these backends."""
    return {
        (name, credential): open_backend(catalog.backends[name], key=key)
        for name in names
        for credential, key in (catalog.credentials(name) or {"": ""}).items()
    }


def open_backend(spec: Backend, transport: Transport | None = None, key: str | None = None) -> HttpBackend:
    """A client for a backend, with its first key or another `key`. It uses the caller's `transport`, if there is one,
    and closes it in the end.

    Connections are kept for the next call, unless `reuse_connections` says otherwise, or says nothing and the host is
    this machine: llama-server closes a kept connection after many of its streams, and a new one costs next to nothing
    there.
    """
    if transport is None:
        local = spec.embedded or is_loopback(spec.url)
        transport = Transport(keep_alive=not local if spec.reuse_connections is None else spec.reuse_connections)
    key = first_key(spec) if key is None else key
    if spec.loader is not None and spec.loader in LOADERS:
        return LOADERS[spec.loader](spec.url, key, transport, on_card=spec.vram_gb is not None)
    return PROTOCOLS[spec.protocol](spec, key, transport)


def first_key(spec: Backend) -> str:
    """The first key of a backend; empty: it has none."""
    return next(iter(spec.secrets), "")


def is_loopback(url: str) -> bool:
    """Whether a url's host is this machine by its name or address. Nothing is resolved."""
    try:
        host = URL(url).host or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False
