"""The further names of the models of an endpoint, which lists each by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

MAX_AGE_SECONDS = 60.0
"""How long a list is used: a new name is rare."""

NamesByModel = Mapping[str, tuple[str, ...]]
FetchNames = Callable[[float], Awaitable[NamesByModel]]
"""Asks the endpoint, within this number of seconds. Empty: it does not say."""


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
