"""Shows the caller of a job what its call does while it waits: the load of a model, or the growth of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openfall.workers.backends.stall_watch import CallWatch

SHOW_INTERVAL_SECONDS = 3.0
"""Between two events about a call. Most calls end before the first."""

OnProgress = Callable[[dict[str, Any]], None]
"""Called with an event for the caller of a job, on the event loop; it must not block."""


@dataclass(slots=True, kw_only=True)
class CallProgress:
    """Shows the progress of one call, and only what is known: a call without a token shows nothing.

    `load_time`: of the model, in seconds; None: unknown. `show` None: there is no caller who waits.
    """

    model: str
    backend: str
    load_time: float | None
    watch: CallWatch
    show: OnProgress | None
    _shown_characters: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def start(self) -> None:
        """Show the progress every few seconds until `stop`."""
        if self.show is not None:
            self._timer = asyncio.get_running_loop().call_later(SHOW_INTERVAL_SECONDS, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def show_load(self) -> None:
        """Show that the model is being loaded."""
        self._emit("loading", seconds=round(self.watch.seconds), expected_seconds=self.load_time)

    def _tick(self) -> None:
        watch = self.watch
        if watch.is_loading:
            self.show_load()
        elif watch.whole:
            self._emit("waiting", seconds=round(watch.seconds), limit_seconds=round(watch.longest))
        elif watch.characters > self._shown_characters:
            self._shown_characters = watch.characters
            self._emit("writing", characters=watch.characters, text_characters=watch.text_characters)
        self.start()

    def _emit(self, event: str, **fields: float | None) -> None:
        if self.show is not None:
            self.show({"event": event, "model": self.model, "backend": self.backend, **fields})
