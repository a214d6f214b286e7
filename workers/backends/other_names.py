"""Further names of the models in the memory of an endpoint: it lists each by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

BELIEVED_SECONDS = 60.0
"""How long a list is believed: a new name is rare."""

NamesByModel = Mapping[str, tuple[str, ...]]
FetchNames = Callable[[float], Awaitable[NamesByModel]]
"""Asks the endpoint, within this number of seconds. Empty: it does not say."""


class OtherNames:
    """The names by model, asked again when a model is not among them or they are a minute old."""

    def __init__(self, fetch: FetchNames) -> None:
        self._fetch = fetch
        self._names: NamesByModel = {}
        self._asked_at = -BELIEVED_SECONDS
        self._asked_for: frozenset[str] = frozenset()

    async def of(self, models: Collection[str], timeout_s: float) -> NamesByModel:
        """The names of these models and of others."""
        now = asyncio.get_running_loop().time()
        if models and (not self._asked_for.issuperset(models) or now - self._asked_at >= BELIEVED_SECONDS):
            self._names = await self._fetch(timeout_s) or self._names
            self._asked_at, self._asked_for = now, frozenset(models)
        return self._names
