"""Opens the client of a backend by its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from yarl import URL

from openfall.router_core.catalog.entries import Backend, Protocol
from openfall.workers.backends.anthropic_client import AnthropicBackend
from openfall.workers.backends.base import CompletionBackend
from openfall.workers.backends.ollama_client import OllamaBackend
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.transport import Transport

PROTOCOLS: Mapping[Protocol, Callable[[Backend, Transport], CompletionBackend]] = {
    "openai": lambda spec, transport: OpenAIBackend(spec.url, spec.api_key.get_secret_value(), transport),
    "anthropic": lambda spec, transport: AnthropicBackend(
        spec.url, spec.api_key.get_secret_value(), transport, spec.api_version
    ),
    "ollama": lambda spec, transport: OllamaBackend(spec.url, spec.api_key.get_secret_value(), transport),
}


def open_backend(spec: Backend, transport: Transport | None = None) -> CompletionBackend:
    """A client for a backend. It uses the caller's `transport`, if there is one, and closes it in the end.

    Connections are kept for the next call, unless `keep_alive` says otherwise, or says nothing and the host is this
    machine: llama-server closes a kept connection after many of its streams, and a new one costs next to nothing there.
    """
    if transport is None:
        local = spec.embedded or is_loopback(spec.url)
        transport = Transport(keep_alive=not local if spec.keep_alive is None else spec.keep_alive)
    return PROTOCOLS[spec.protocol](spec, transport)


def is_loopback(url: str) -> bool:
    """Whether a url's host is this machine by its name or address. Nothing is resolved."""
    try:
        host = URL(url).host or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False
