"""An engine that loads and unloads models on a graphics card when it is ordered to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openfall.router_core.catalog.entries import Loader, ModelSpec
from openfall.router_core.jobs.outcome import Failure
from openfall.workers.backends.base import CompletionBackend, LoadedModel, same_model

LIST_TIMEOUT_SECONDS = 5.0
OLLAMA_MAX_MODELS = 3
"""OLLAMA_MAX_LOADED_MODELS, unless it is set."""
OLLAMA_BESIDE = 1.25
"""Ollama loads a model beside others only into 80 % of the free memory; else it evicts one by its own choice."""


@dataclass(frozen=True, slots=True)
class EngineContent:
    """What an engine has in memory: models of the catalog by alias, with their GB (0: unknown); the GB of others.
    `is_away`: the engine does not answer, so nothing can be called there."""

    models: Mapping[str, float]
    foreign_gb: float = 0.0
    is_away: bool = False


class CardEngine(Protocol):
    """One engine on a card. `max_models`: how many it holds at once. `beside`: the free memory that it needs to load a
    model beside others, as a multiple of its size. `epoch` of a load or an unload: an engine that can refuses an older
    one, so that a frozen manager changes nothing."""

    max_models: int
    beside: float

    async def content(self) -> EngineContent | Failure:
        """What is in memory now."""
        ...

    async def load(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        """Load a model and keep it until it is unloaded. None: it is ready."""
        ...

    async def unload(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        """Unload a model. None: its memory is free."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine does by itself: see `CardEngine`."""

    max_models: int = 99
    beside: float = 1.0


LIMITS: Mapping[Loader, EngineLimits] = {Loader.OLLAMA: EngineLimits(OLLAMA_MAX_MODELS, OLLAMA_BESIDE)}
"""Any other engine holds what it is ordered to hold."""


class BackendCardEngine:
    """The engine of a backend. Its models never leave by themselves: each call and each load keeps them in an Ollama
    (`keep_alive: -1`), the configuration in the others."""

    def __init__(self, client: CompletionBackend, models: Mapping[str, ModelSpec], loader: Loader) -> None:
        self._client, self._models = client, models
        limits = LIMITS.get(loader, EngineLimits())
        self.max_models, self.beside = limits.max_models, limits.beside

    async def content(self) -> EngineContent | Failure:
        loaded = await self._client.list_loaded(LIST_TIMEOUT_SECONDS)
        if loaded is None or isinstance(loaded, Failure):
            return loaded or EngineContent({})
        models = {alias: model.vram_gb or 0.0 for model in loaded for alias in self._aliases(model)}
        foreign = sum(model.vram_gb or 0.0 for model in loaded if not self._aliases(model))
        return EngineContent(models, foreign)

    async def load(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        spec = self._models[alias]
        return await self._client.load(spec.upstream, spec.context, timeout_seconds, epoch)

    async def unload(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        return await self._client.unload(self._models[alias].upstream, timeout_seconds, epoch)

    def _aliases(self, loaded: LoadedModel) -> list[str]:
        return [alias for alias, spec in self._models.items() if same_model(spec.upstream, loaded.upstream)]
