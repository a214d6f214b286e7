"""The limits of keys: requests a minute, and requests at once. Each process of a gateway counts its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.state.client_keys import ClientKey

_MINUTE_SECONDS = 60.0


class Concurrency:
    """What each key may do a few times at once."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def slot(self, name: str, most: int | None, what: str) -> Iterator[None]:
        """Raises `Refusal` when the key uses them all. `what` says how many it may use, and what to do."""
        if most is not None and self._taken[name] >= most:
            raise Refusal("rate_limit", f"the key {name!r} may {what}", retry_after=1)
        self._taken[name] += 1
        try:
            yield
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]


class KeyLimits:
    """Counts by GCRA: a key may use its whole minute at once, and gets its requests back singly. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """By key: when its whole minute is available again."""
        self._in_flight = Concurrency()

    @contextmanager
    def admitted(self, key: ClientKey) -> Iterator[None]:
        """The time of one request. Raises `Refusal` when the key is at a limit."""
        what = f"have {key.in_flight} requests at once: wait until one is answered"
        with self._in_flight.slot(key.name, key.in_flight, what):
            self._check_rate(key)
            yield

    def _check_rate(self, key: ClientKey) -> None:
        if key.per_minute is None:
            return
        now, interval = self._clock(), _MINUTE_SECONDS / key.per_minute
        full_at = max(now, self._full_at.get(key.name, now)) + interval
        over = full_at - now - _MINUTE_SECONDS
        if over > 1e-9:
            message = f"the key {key.name!r} may send {key.per_minute} requests a minute: try again in {over:.0f} s"
            raise Refusal("rate_limit", message, retry_after=over)
        self._full_at[key.name] = full_at
