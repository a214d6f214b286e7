"""Counts the requests that this process of the gateway has refused, until they are written into Redis."""

from __future__ import annotations

from collections import Counter

from openfall.producers.gateway.error_table import REFUSED_CAUSES
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.refused_requests import count_refused


class RefusalCounts:
    """Takes no memory for a request: one number for each key of the gateway and each cause."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, key: str, cause: str) -> None:
        """Count a request of a key, unless the cause is a fault of openfall or of a provider."""
        if cause in REFUSED_CAUSES:
            self._counts[key, cause] += 1

    async def write(self, link: RedisConnection) -> None:
        """Write the counts into Redis. While it does not answer they are kept. Raises `StoreError`."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await count_refused(link, counts)
        except StoreError:
            self._counts.update(counts)
            raise
