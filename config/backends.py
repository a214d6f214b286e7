"""`pools`, `backends`, and the `engine` of a backend that runs on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from openfall.config.bounds import at_least
from openfall.config.document import Node
from openfall.config.entries import (
    Entry,
    Table,
    built,
    named,
    read,
)
from openfall.config.field_types import (
    FieldType,
    flag,
    literal,
    number,
    one_of,
    secret,
    size,
    text,
    whole,
    written,
)
from openfall.config.paths import resolved
from openfall.config.problems import nearest, quoted
from openfall.config.redact import redact_key, redact_value
from openfall.config.references import References
from openfall.config.settings import SHIPPED_MODELS, EngineSettings
from openfall.router_core.catalog.entries import (
    POOL_DEFAULTS,
    Backend,
    Billing,
    Pool,
)
from openfall.router_core.catalog.entries import Protocol as Protocols

PROTOCOLS: tuple[str, ...] = get_args(Protocols)
PUBLIC_URLS: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "ollama": "http://127.0.0.1:11434",
}
"""Where a backend is that names its protocol and no address."""

_OUTSIDE = frozenset(
    {"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "ollama.com", "openrouter.ai"}
)
"""Hosts that are nobody's own machine."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_UNSPOKEN = "ollama"
"""The one protocol that the embedded engine does not speak."""

POOL = Entry(Pool, {"local": flag.meaning("What is asked here never leaves machines of your own.")})

ENGINE: Table = {
    "model": text.meaning("`smollm2`, which is shipped, or the path of a GGUF file, from this file's directory."),
    "context": at_least(256, size).meaning("Tokens of context for each call."),
    "threads": at_least(1, whole).meaning("Threads of the CPU. Without it: the engine's own choice."),
    "parallel": at_least(1, whole).meaning("Calls at once. Without it: the backend's `slots`."),
    "gpu_layers": at_least(0, whole).meaning("Layers of the model on the graphics card."),
}


def backend_entry(pools: References) -> Entry[Backend]:
    """What a backend may say, where these pools exist."""
    return Entry(
        Backend,
        {
            "protocol": one_of("protocol", PROTOCOLS).meaning("The wire form that it speaks."),
            "url": _URL.meaning(
                "Its address. Without it, and with `protocol` written: Anthropic's or OpenAI's own, "
                "or Ollama's usual one on this machine."
            ),
            "pool": pools.one.meaning("Whose workers call it."),
            "slots": whole.meaning("Calls at once, counted over the whole fleet."),
            "reserved_interactive": whole.meaning("So many of them are for interactive jobs alone."),
            "api_key": _KEY.meaning('Its credential. Write "${VARIABLE:-}": it is never shown.'),
            "billing": one_of("billing", list(Billing)).meaning(
                "`metered` by the token, `flat` for a subscription, `local` for a machine of your own. "
                "Without it: local in a local pool, metered in any other."
            ),
            "vram_gb": number.meaning("Memory of its graphics card in GB, if it loads models by itself."),
            "api_version": literal.meaning("The `anthropic-version` to speak. Without it: one that is known to work."),
            "keep_alive": flag.meaning("Use a connection again. Without it: yes, but not on this machine."),
            "embedded": flag.meaning("Started and watched by `openfall up` on this machine."),
            "engine": FieldType(lambda place: None, {}, inside=ENGINE).meaning("How an embedded backend runs."),
        },
        optional=frozenset({"url"}),
    )


def read_pools(section: Node | None) -> Mapping[str, Pool]:
    """The pools; without the section, the catalog's own."""
    if section is None:
        return POOL_DEFAULTS
    return {name: built(POOL, place) for name, place in named(section)}


def read_backends(section: Node | None, pools: References, local: Mapping[str, Pool]) -> dict[str, Backend]:
    """The backends whose pool is known; what is wrong with any is reported."""
    if section is None:
        return {}
    entry = backend_entry(pools)
    backends = {}
    for name, place in named(section):
        backend = built(entry, place, _address(place))
        if "pool" in backend.model_fields_set:
            backends[name] = backend
            _refuse_leak(place, backend, local)
    return backends


def read_engines(section: Node | None, backends: Mapping[str, Backend], base: Path) -> dict[str, EngineSettings]:
    """How to run each embedded backend. A relative `model` path starts at `base`."""
    engines = {}
    places = section.entries() if section is not None else {}
    for name, backend in backends.items():
        engine = places[name].entries().get("engine")
        if backend.embedded:
            _check_address(places[name], backend)
            engines[name] = _engine(engine, backend, base)
        elif engine is not None:
            engine.report("only an embedded backend has an engine", "Add embedded: yes to the backend, or remove this.")
    return engines


def _engine(place: Node | None, backend: Backend, base: Path) -> EngineSettings:
    values: dict[str, Any] = {"parallel": backend.slots}
    if place is not None:
        model = replace(ENGINE["model"], read=partial(_model, base=base))
        values.update(read(place, {**ENGINE, "model": model}))
    return EngineSettings(**values)


def _read_url(place: Node) -> str | None:
    told = text(place)
    if told is None or "@" not in told.partition("?")[0]:
        return told
    place.report("an address must not carry a user or password", "Write the credential as api_key: of the backend.")
    return None


_URL: FieldType[str] = FieldType(
    _read_url, {"type": "string", "pattern": r"^https?://|\$\{"}, lambda url: written(redact_value(url))
)
_KEY: FieldType[str] = FieldType(secret.read, secret.shape, lambda key: _written_key(key))


def _written_key(key: SecretStr) -> str | None:
    return written(redact_key(key.get_secret_value())) or None


def _address(place: Node) -> dict[str, str]:
    """The address of a backend that says only what it speaks. An engine that we start has to be told its port."""
    told = place.entries() if place.is_mapping else {}
    if "url" in told or "protocol" not in told or "embedded" in told:
        return {}
    url = PUBLIC_URLS.get(one_of("protocol", PROTOCOLS)(told["protocol"]) or "")
    return {"url": url} if url is not None else {}


def _refuse_leak(place: Node, backend: Backend, pools: Mapping[str, Pool]) -> None:
    """What is local never leaves: a provider's own address is in no local pool."""
    if "url" not in backend.model_fields_set or not pools[backend.pool].local:
        return
    host = _host(backend.url)
    if host in _OUTSIDE:
        remedy = "Put it into a pool that is not local, or write the address of a machine of yours."
        at = place.entries().get("url", place)
        at.report(f"pool {quoted(backend.pool)} is local, but {host} is not a machine of yours", remedy)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _check_address(place: Node, backend: Backend) -> None:
    """An embedded engine binds to its address, so that must be a port of this machine."""
    if backend.protocol == _UNSPOKEN:
        place.entries()["protocol"].report(f"an embedded engine does not speak {_UNSPOKEN}", "Write openai.")
    if "url" not in backend.model_fields_set:
        return
    try:
        parts = urlsplit(backend.url)
        fits = parts.scheme == "http" and parts.hostname in _LOOPBACK and bool(parts.port)
    except ValueError:
        fits = False
    if not fits:
        message = "an embedded engine listens on this machine, and this address is not on it or names no port"
        place.entries()["url"].report(message, "Write it as http://127.0.0.1:8391.")


def _model(place: Node, base: Path) -> str | None:
    """A shipped model by its name, or the absolute path of a file. A bare word is a name, not a path."""
    model = text(place)
    if model is None or model in SHIPPED_MODELS:
        return model
    if "/" in model or model.endswith(".gguf"):
        return str(resolved(model, base, place.page.environ))
    place.report(f"unknown model {quoted(place.node.value)}", f"{nearest(model, SHIPPED_MODELS)} Or write a path.")
    return None
