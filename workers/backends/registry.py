"""Which class speaks which protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address

import httpx

from openfall.router_core.catalog.entries import Backend, Protocol
from openfall.workers.backends.anthropic.client import AnthropicBackend
from openfall.workers.backends.base import CompletionBackend
from openfall.workers.backends.ollama.client import OllamaBackend
from openfall.workers.backends.openai.client import OpenAIBackend
from openfall.workers.backends.transport import open_transport

Opener = Callable[[Backend, httpx.AsyncBaseTransport], CompletionBackend]


def _openai(spec: Backend, transport: httpx.AsyncBaseTransport) -> CompletionBackend:
    return OpenAIBackend(spec.url, spec.api_key.get_secret_value(), transport)


def _anthropic(spec: Backend, transport: httpx.AsyncBaseTransport) -> CompletionBackend:
    return AnthropicBackend(spec.url, spec.api_key.get_secret_value(), transport, spec.api_version)


def _ollama(spec: Backend, transport: httpx.AsyncBaseTransport) -> CompletionBackend:
    return OllamaBackend(spec.url, spec.api_key.get_secret_value(), transport)


PROTOCOLS: Mapping[Protocol, Opener] = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}


def open_backend(spec: Backend, transport: httpx.AsyncBaseTransport | None = None) -> CompletionBackend:
    """A client for a backend. With a `transport` of the caller's it uses that (tests), and closes it in the end.

    Connections are kept for the next call, unless `keep_alive` says otherwise, or says nothing and the host is this
    machine: llama-server closes a kept connection after many of its streams, and a new one costs next to nothing there.
    """
    if transport is None:
        local = spec.embedded or is_loopback(spec.url)
        transport = open_transport(keep_alive=not local if spec.keep_alive is None else spec.keep_alive)
    return PROTOCOLS[spec.protocol](spec, transport)


def is_loopback(url: str) -> bool:
    """Whether a url's host is this machine by its name or address. Nothing is looked up."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
