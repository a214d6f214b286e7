"""`pools`, `backends`, and the `engine` of a backend that runs on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from config.entries import Table, built, named, read
from config.kinds import Names, at_least, elsewhere, flag, one_of, secret, size, text, whole
from config.page import Place
from config.paths import resolved
from config.problems import nearest, quoted
from config.settings import SHIPPED_MODELS, EngineSettings
from router_core.catalog import POOL_DEFAULTS, Backend, Pool

_POOL: Table = {"local": flag}
_PROTOCOLS = get_args(Backend.model_fields["protocol"].annotation)
_ENGINE: Table = {
    "ctx": at_least(256, size),
    "threads": at_least(1, whole),
    "parallel": at_least(1, whole),
    "gpu_layers": at_least(0, whole),
}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def read_pools(section: Place | None) -> Mapping[str, Pool]:
    """The pools; without the section, the catalog's own."""
    if section is None:
        return POOL_DEFAULTS
    return {name: built(Pool, place, _POOL) for name, place in named(section)}


def read_backends(section: Place | None, pools: Names) -> dict[str, Backend]:
    """The backends whose pool is known; what is wrong with any is reported."""
    if section is None:
        return {}
    table: Table = {
        "protocol": one_of("protocol", _PROTOCOLS),
        "url": _url,
        "pool": pools.one,
        "slots": whole,
        "key": secret,
        "keep_alive": flag,
        "embedded": flag,
        "engine": elsewhere,
    }
    backends = {name: built(Backend, place, table) for name, place in named(section)}
    return {name: backend for name, backend in backends.items() if "pool" in backend.model_fields_set}


def read_engines(section: Place | None, backends: Mapping[str, Backend], base: Path) -> dict[str, EngineSettings]:
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


def _engine(place: Place | None, backend: Backend, base: Path) -> EngineSettings:
    values: dict[str, Any] = {"parallel": backend.slots}
    if place is not None:
        values.update(read(place, {**_ENGINE, "model": partial(_model, base=base)}))
    return EngineSettings(**values)


def _url(place: Place) -> str | None:
    read = text(place)
    if read is None or "@" not in read.partition("?")[0]:
        return read
    place.report("an address must not carry a user or password", "Write the credential as key: of the backend.")
    return None


def _check_address(place: Place, backend: Backend) -> None:
    """An embedded engine binds to its address, so that must be a port of this machine."""
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


def _model(place: Place, base: Path) -> str | None:
    """A shipped model by its name, or the absolute path of a file. A bare word is a name, not a path."""
    model = text(place)
    if model is None or model in SHIPPED_MODELS:
        return model
    if "/" in model or model.endswith(".gguf"):
        return str(resolved(model, base, place.page.environ))
    place.report(f"unknown model {quoted(place.node.value)}", f"{nearest(model, SHIPPED_MODELS)} Or write a path.")
    return None
