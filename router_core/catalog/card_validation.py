"""Contradictions about graphics cards: which backends share one, and whether the models fit."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from openfall.router_core.catalog.backend_entry import Backend, Loader
from openfall.router_core.catalog.catalog_errors import CatalogProblem
from openfall.router_core.catalog.model_names import same_model
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog

_Engine = tuple[str, int | None, str]
"""Host, port and path."""
_LOOPBACK, _THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"}), "localhost"
_ENGINE_PARTS = ("/v1", "/api")
_PORTS = {"http": 80, "https": 443}


def validate_cards(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Every contradiction about cards."""
    cards: dict[str, list[str]] = {}
    for name, backend in catalog.backends.items():
        yield from _backend(f"backends.{name}", backend)
        if backend.vram_gb is not None:
            cards.setdefault(backend.card or name, []).append(name)
    yield from _engines(catalog)
    yield from _hosts(catalog)
    for card, names in cards.items():
        yield from _card(catalog, card, names)
    yield from _twins(catalog)
    yield from _models(catalog)


def _backend(path: str, backend: Backend) -> Iterator[CatalogProblem]:
    if backend.loader is not None and (backend.loader is Loader.OLLAMA) != (backend.protocol == "ollama"):
        wanted = "ollama" if backend.loader is Loader.OLLAMA else "openai"
        yield CatalogProblem(f"{path}.loader", f"it speaks another protocol: write protocol: {wanted}")
    if backend.vram_gb is None:
        if backend.card is not None:
            yield CatalogProblem(f"{path}.card", "it has no vram_gb: write the memory of the card, or remove card")
        return
    if not backend.loads_models:
        remedy = "nothing loads its models: write loader: sidecar, llama-server or llama-swap, or remove vram_gb"
        yield CatalogProblem(f"{path}.vram_gb", remedy)
    if backend.keep_in_memory is not None:
        remedy = "with vram_gb openfall decides how long a model stays: remove keep_in_memory, or vram_gb"
        yield CatalogProblem(f"{path}.keep_in_memory", remedy)


def _engines(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Backends of one engine share its memory: they have one card, about which one pool decides. Otherwise the models
    of one would evict those of the other."""
    engines = {name: _engine(backend) for name, backend in catalog.backends.items()}
    owners: dict[_Engine, str] = {}
    for name, backend in catalog.backends.items():
        if backend.vram_gb is not None:
            owners.setdefault(engines[name], name)
    for name, backend in catalog.backends.items():
        owner = owners.get(engines[name], name)
        first = catalog.backends[owner]
        if (
            owner == name
            or _only_passes_on(catalog, name)
            or (backend.vram_gb is not None and backend.card == first.card is not None)
        ):
            continue
        key = "vram_gb" if backend.vram_gb is None else "card"
        remedy = f"write vram_gb: {first.vram_gb:g}, card: {first.card or owner} and pool: {first.pool} for both"
        yield CatalogProblem(f"backends.{name}.{key}", f"its engine is that of {owner}, and has one memory: {remedy}")


def _only_passes_on(catalog: UncheckedCatalog, backend: str) -> bool:
    """Whether no model of a backend is ever in its memory: an Ollama passes their calls on to its maker."""
    models = [spec for spec in catalog.models.values() if backend in spec.backends]
    return bool(models) and all(spec.passed_on for spec in models)


def _hosts(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Two engines with a card on one host: whether they share it must be said."""
    by_host: dict[str, str] = {}
    for name, backend in catalog.backends.items():
        if backend.vram_gb is None:
            continue
        first = by_host.setdefault(_engine(backend)[0], name)
        other = catalog.backends[first]
        if first != name and None in (backend.card, other.card) and _engine(backend) != _engine(other):
            remedy = f"{first} is on the same host: write `card: NAME` for both, the same name if they share a card"
            yield CatalogProblem(f"backends.{name}.card", remedy)


def _engine(backend: Backend) -> _Engine:
    """The address of its engine. The names of this machine are one host; `/v1` and `/api` are parts of one engine."""
    address = urlsplit(getattr(backend, "url", ""))  # it is missing while the problems of a file are collected
    host = address.hostname or ""
    path = address.path.rstrip("/")
    for part in _ENGINE_PARTS:
        path = path.removesuffix(part)
    return _THIS_MACHINE if host in _LOOPBACK else host, address.port or _PORTS.get(address.scheme), path


def _card(catalog: UncheckedCatalog, card: str, names: list[str]) -> Iterator[CatalogProblem]:
    first, path = catalog.backends[names[0]], f"backends.{names[-1]}"
    if len({catalog.backends[name].vram_gb for name in names}) > 1:
        yield CatalogProblem(f"{path}.vram_gb", f"backends of card {card} must have the same: {', '.join(names)}")
    if len({catalog.backends[name].pool for name in names}) > 1:
        yield CatalogProblem(f"{path}.pool", f"backends of card {card} must be in one pool: {', '.join(names)}")
    memory, beside = first.vram_gb or 0.0, max(catalog.backends[name].beside for name in names)
    models = {alias: spec for alias, spec in catalog.models.items() if set(spec.backends) & set(names)}
    pinned = {alias: spec.vram_gb or 0.0 for alias, spec in models.items() if spec.pinned}
    if not pinned:
        return
    last, held = list(pinned)[-1], sum(pinned.values())
    if held + (beside - 1) * max(pinned.values()) * (len(pinned) > 1) > memory:  # the largest may be loaded last
        message = f"the pinned models of card {card} need {held:g} GB, and it has {memory:g}{_margin(beside)}"
        yield CatalogProblem(f"models.{last}.pinned", message)
        return
    for alias, spec in models.items():
        elsewhere = set(spec.backends) - set(names)
        if not spec.pinned and not elsewhere and beside * (spec.vram_gb or 0.0) + held > memory:
            message = f"beside the pinned models of card {card} ({', '.join(pinned)}) it never fits{_margin(beside)}"
            yield CatalogProblem(f"models.{alias}.vram_gb", message)


def _margin(beside: float) -> str:
    """What its engine needs besides, for people."""
    return "" if beside == 1 else f" (Ollama needs {beside:g} times the size of a model to load it beside others)"


def _twins(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Two models of one upstream are one in the memory of a card: each would be taken for the other's."""
    for name, backend in catalog.backends.items():
        if backend.vram_gb is None:
            continue
        on_card = [(alias, spec) for alias, spec in catalog.models.items() if name in spec.backends]
        own = [(alias, spec.upstream) for alias, spec in on_card if not spec.passed_on]
        for number, (alias, upstream) in enumerate(own):
            first = next((other for other, known in own[:number] if same_model(known, upstream)), None)
            if first is not None:
                remedy = f"remove one, or give {alias} an upstream of its own. Roles may differ in their limits"
                problem = f"in the memory of {name} it is the same model as {first}: {remedy}"
                yield CatalogProblem(f"models.{alias}.upstream", problem)


def _models(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    for alias, spec in catalog.models.items():
        known = [catalog.backends[name] for name in spec.backends if name in catalog.backends]
        if any(backend.vram_gb is not None for backend in known):
            continue
        flags = {"pinned": spec.pinned or None, "preload": spec.preload or None}
        for key, value in {**flags, "keep_warm": spec.keep_warm, "slots": spec.slots}.items():
            if value is not None:
                remedy = f"none of its backends has a card: write vram_gb there, or remove {key}"
                yield CatalogProblem(f"models.{alias}.{key}", remedy)
