"""Shows the caller of a job what its call does while it waits: the load of a model, or the growth of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openfall.workers.backends.stall_watch import CallWatch

SHOW_INTERVAL_SECONDS = 3.0
"""Between two events about a call. Most calls end before the first."""

OnProgress = Callable[[dict[str, Any]], None]
"""Called with an event for the caller of a job, on the event loop; it must not block."""


@dataclass(frozen=True, slots=True)
class CalledModel:
    """The model of a call. `load_time` in seconds; None: unknown."""

    model: str
    backend: str
    load_time: float | None


class CallProgress:
    """Shows the progress of one call, and only what is known: a call without a token shows nothing.

    `show` None: there is no caller who waits.
    """

    def __init__(self, called: CalledModel, watch: CallWatch, show: OnProgress | None) -> None:
        self._called = called
        self._watch, self._show = watch, show
        self._shown_characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Show the progress every few seconds until `stop`."""
        if self._show is not None:
            self._timer = asyncio.get_running_loop().call_later(SHOW_INTERVAL_SECONDS, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def show_load(self) -> None:
        """Show that the model is being loaded."""
        self._emit("loading", seconds=round(self._watch.seconds), expected_seconds=self._called.load_time)

    def _tick(self) -> None:
        watch = self._watch
        if watch.is_loading:
            self.show_load()
        elif watch.whole:
            self._emit("waiting", seconds=round(watch.seconds), limit_seconds=round(watch.longest))
        elif watch.characters > self._shown_characters:
            self._shown_characters = watch.characters
            self._emit("writing", characters=watch.characters, text_characters=watch.text_characters)
        self.start()

    def _emit(self, event: str, **fields: float | None) -> None:
        if self._show is not None:
            self._show({"event": event, "model": self._called.model, "backend": self._called.backend, **fields})
