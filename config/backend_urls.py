"""The addresses of backends: of providers that need none written, and those that a local pool or an engine refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from openfall.config.errors import quoted
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.pools import Pool

PUBLIC_URLS: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434",
}
"""The address of a backend that names its protocol and no address."""

_PROVIDER_HOSTS = frozenset(
    {"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "ollama.com", "openrouter.ai"}
)
"""Hosts that are never the owner's own machine."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", "*"})
_NOT_EMBEDDED = "ollama"
"""The protocol that the embedded engine does not have."""


def refuse_provider(node: Node, backend: Backend, pools: Mapping[str, Pool]) -> None:
    """Report a provider's own address in a local pool: local requests never leave."""
    if "url" not in backend.model_fields_set or not pools[backend.pool].local:
        return
    try:
        host = urlsplit(backend.url).hostname
    except ValueError:
        return
    if host in _PROVIDER_HOSTS:
        remedy = "Put it into a pool that is not local, or write the address of a machine of yours."
        message = f"pool {quoted(backend.pool)} is local, but {host} is not a machine of yours"
        node.entries().get("url", node).report(message, remedy)


def refuse_own_gateway(node: Node, backend: Backend, listen: Iterable[str]) -> None:
    """Report a backend at the address of this configuration's gateway: its calls would come back to the gateway."""
    if "url" not in backend.model_fields_set:
        return
    own = {(host.strip("[]"), port) for host, _, port in (address.rpartition(":") for address in listen)}
    try:
        parts = urlsplit(backend.url)
        host, port = parts.hostname, str(parts.port)
    except ValueError:
        return
    if host in _LOOPBACK and any(at == port and on in _LOOPBACK | _EVERY_ADDRESS for on, at in own):
        remedy = "Write the address of the provider, or give the gateway another one (gateway: {listen: [...]})."
        message = "the gateway of this configuration listens there, so each call would ask the gateway again"
        node.entries().get("url", node).report(message, remedy)


def check_embedded(node: Node, backend: Backend) -> None:
    """An embedded engine binds to its address, so that must be a port of this machine."""
    if backend.protocol == _NOT_EMBEDDED:
        message = f"an embedded engine does not support {_NOT_EMBEDDED}"
        node.entries()["protocol"].report(message, "Write openai.")
    if "url" not in backend.model_fields_set:
        return
    try:
        parts = urlsplit(backend.url)
        fits = parts.scheme == "http" and parts.hostname in _LOOPBACK and bool(parts.port)
    except ValueError:
        fits = False
    if not fits:
        message = "an embedded engine listens on this machine, and this address is not on it or names no port"
        node.entries()["url"].report(message, "Write it as http://127.0.0.1:8391.")
