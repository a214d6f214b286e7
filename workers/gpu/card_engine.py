"""An engine that loads and unloads models on a graphics card when it is ordered to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.backend_entry import Loader
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.outcome import Failure
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.loaded_models import LoadedModel

LIST_TIMEOUT_SECONDS = 5.0
MAX_MODELS: Mapping[Loader, int] = {Loader.OLLAMA: 3}
"""OLLAMA_MAX_LOADED_MODELS, unless it is set. Any other engine holds what it is ordered to hold."""
UNLIMITED = 99


@dataclass(frozen=True, slots=True)
class EngineContent:
    """What an engine has in memory: models of the catalog by alias, with their GB (0: unknown); the GB of others.
    `is_away`: the engine does not answer, so nothing can be called there."""

    models: Mapping[str, float]
    foreign_gb: float = 0.0
    is_away: bool = False


class CardEngine:
    """The engine of a backend on a card. Its models never leave by themselves: each call and each load keeps them in an
    Ollama (`keep_alive: -1`), the configuration in the others.

    `max_models`: how many it holds at once. `epoch` of a load or an unload: an engine that can refuses an older one, so
    that a frozen manager changes nothing.
    """

    def __init__(self, client: HttpBackend, models: Mapping[str, ModelSpec], loader: Loader) -> None:
        self._client, self._models = client, models
        self.max_models = MAX_MODELS.get(loader, UNLIMITED)

    async def content(self) -> EngineContent | Failure:
        """What is in memory now."""
        loaded = await self._client.list_loaded(LIST_TIMEOUT_SECONDS)
        if loaded is None or isinstance(loaded, Failure):
            return loaded or EngineContent({})
        models = {alias: model.vram_gb or 0.0 for model in loaded for alias in self._aliases(model)}
        foreign = sum(model.vram_gb or 0.0 for model in loaded if not self._aliases(model))
        return EngineContent(models, foreign)

    async def load(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        """Load a model and keep it until it is unloaded. None: it is ready."""
        spec = self._models[alias]
        return await self._client.load(spec.upstream, spec.context, timeout_seconds, epoch)

    async def unload(self, alias: str, timeout_seconds: float, epoch: int) -> Failure | None:
        """Unload a model. None: its memory is free."""
        return await self._client.unload(self._models[alias].upstream, timeout_seconds, epoch)

    def _aliases(self, loaded: LoadedModel) -> list[str]:
        return [alias for alias, spec in self._models.items() if loaded.is_called(spec.upstream)]
