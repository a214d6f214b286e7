"""The models in the memory of an endpoint, and the further names of each: an endpoint lists a model by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.model_names import same_model

MAX_AGE_SECONDS = 60.0
"""How long a list is used: a new name is rare."""

NamesByModel = Mapping[str, tuple[str, ...]]
FetchNames = Callable[[float], Awaitable[NamesByModel]]
"""Asks the endpoint, within this number of seconds. Empty: it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in an endpoint's memory. `upstream` is the endpoint's own spelling, `other_names` are further ones of the
    same model there: compare by `is_called`.

    `vram_gb` is in GiB; `vram_share` is the part of the model on the card (0 to 1). None means unknown.
    """

    upstream: str
    other_names: tuple[str, ...] = ()
    vram_gb: float | None = None
    vram_share: float | None = None

    def is_called(self, name: str) -> bool:
        """Whether a name means this model."""
        return any(same_model(name, own) for own in (self.upstream, *self.other_names))


class OtherNames:
    """The names by model, fetched again when a model is not among them or they are a minute old."""

    def __init__(self, fetch: FetchNames) -> None:
        self._fetch = fetch
        self._names: NamesByModel = {}
        self._fetched_at = -MAX_AGE_SECONDS
        self._fetched_for: frozenset[str] = frozenset()

    async def of(self, models: Collection[str], timeout_s: float) -> NamesByModel:
        """The names of these models and of others."""
        now = asyncio.get_running_loop().time()
        is_new = not self._fetched_for.issuperset(models)
        if models and (is_new or now - self._fetched_at >= MAX_AGE_SECONDS):
            self._names = await self._fetch(timeout_s) or self._names
            self._fetched_at, self._fetched_for = now, frozenset(models)
        return self._names
