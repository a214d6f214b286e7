"""Contradictions about graphics cards: which backends share one, and whether the models fit."""

from __future__ import annotations

from collections.abc import Iterator

from openfall.router_core.catalog.entries import Backend, Loader, UncheckedCatalog
from openfall.router_core.catalog.errors import CatalogProblem


def validate_cards(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Every contradiction about cards."""
    cards: dict[str, list[str]] = {}
    for name, backend in catalog.backends.items():
        yield from _backend(f"backends.{name}", backend)
        if backend.vram_gb is not None:
            cards.setdefault(backend.card or name, []).append(name)
    yield from _hosts(catalog)
    for card, names in cards.items():
        yield from _card(catalog, card, names)
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


def _hosts(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Two backends with a card on one host: whether they share it must be said."""
    by_host: dict[str, str] = {}
    for name, backend in catalog.backends.items():
        if backend.vram_gb is None:
            continue
        host = backend.url.split("/")[2].rpartition("@")[2].partition(":")[0]
        first = by_host.setdefault(host, name)
        if first != name and None in (backend.card, catalog.backends[first].card):
            remedy = f"{first} is on the same host: write `card: NAME` for both, the same name if they share a card"
            yield CatalogProblem(f"backends.{name}.card", remedy)


def _card(catalog: UncheckedCatalog, card: str, names: list[str]) -> Iterator[CatalogProblem]:
    first, path = catalog.backends[names[0]], f"backends.{names[-1]}"
    if len({catalog.backends[name].vram_gb for name in names}) > 1:
        yield CatalogProblem(f"{path}.vram_gb", f"backends of card {card} must have the same: {', '.join(names)}")
    if len({catalog.backends[name].pool for name in names}) > 1:
        yield CatalogProblem(f"{path}.pool", f"backends of card {card} must be in one pool: {', '.join(names)}")
    memory = first.vram_gb or 0.0
    models = {alias: spec for alias, spec in catalog.models.items() if set(spec.backends) & set(names)}
    pinned = {alias: spec.vram_gb or 0.0 for alias, spec in models.items() if spec.pinned}
    if not pinned:
        return
    if sum(pinned.values()) > memory:
        message = f"the pinned models of card {card} need {sum(pinned.values()):g} GB, and it has {memory:g}"
        yield CatalogProblem(f"models.{list(pinned)[-1]}.pinned", message)
        return
    for alias, spec in models.items():
        elsewhere = set(spec.backends) - set(names)
        if not spec.pinned and not elsewhere and (spec.vram_gb or 0.0) + sum(pinned.values()) > memory:
            message = f"beside the pinned models of card {card} ({', '.join(pinned)}) it never fits"
            yield CatalogProblem(f"models.{alias}.vram_gb", message)


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
