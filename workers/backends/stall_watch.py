"""Watches one call: it ends a call that starts, progresses or completes too late, and counts what was generated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.jobs.stream_time_limits import StreamLimits
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.awake_time import TICK_SECONDS, AwakeTime

PROGRESS_CHARACTERS = 10
"""An answer progresses when this many further characters have arrived: of its text, reasoning or tool calls. A person
has no use for fewer in a whole `stall_timeout`."""

WHOLE_ANSWER_SECONDS = 30.0
"""The longest call of a server that refuses to stream. Nothing of its answer arrives before the whole."""


class CallWatch:
    """The limits of one call, in seconds since its start. `limits` None: only the timeout.

    Time in which this process stood still does not count. A token only adds to a counter: a timer looks at the limits.
    """

    def __init__(self, timeout: float, limits: StreamLimits | None = None) -> None:
        self._limits = limits or StreamLimits()
        self._timeout, self._load = timeout, 0.0
        self._started_at = self._progressed_at = 0.0
        self._first_token_at: float | None = None
        self._counted = 0
        self._awake = AwakeTime(0.0)
        self._end: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.needs_stream = limits is not None
        """Whether the call must be streamed for its limits."""
        self.characters = 0
        """The generated characters so far."""
        self.text_characters = 0
        """Those of the text that the caller reads."""
        self.stream_refused = False
        """Whether the server refuses to stream."""
        self.plan_shares: tuple[PlanShare, ...] = ()
        """What the response says of the limits of a subscription."""
        self.whole = False
        """Whether the answer arrives in one piece: the server does not stream, and no token arrives before the end."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run a call within its limits. Raises `TimeoutError` when one is reached: see `failure`."""
        now = asyncio.get_running_loop().time()
        self._awake = AwakeTime(now)
        self._started_at = self._progressed_at = now
        try:
            async with asyncio.timeout(None) as self._end:
                self._check()
                yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def count(self, characters: int, text: str) -> None:
        """The answer has this many characters by now; `text` is what the last event added to its text."""
        if characters == self.characters:
            return
        self.characters = characters
        self.text_characters += len(text)
        if self._first_token_at is None or characters - self._counted >= PROGRESS_CHARACTERS:
            now = self._now()
            if self._first_token_at is None:
                self._first_token_at = now
            if characters - self._counted >= PROGRESS_CHARACTERS:
                self._counted, self._progressed_at = characters, now

    def allow_load(self) -> None:
        """The model has to be loaded first."""
        self._load = self._limits.load

    @property
    def is_loading(self) -> bool:
        """Whether the call waits for its model to be loaded, as far as it is known."""
        return self._load > 0 and self._first_token_at is None and self.seconds < self._load

    @property
    def load_seconds(self) -> float:
        """The longest load of its model."""
        return self._limits.load

    @property
    def longest(self) -> float:
        """The longest that the call may take."""
        if not self._load:
            return min(self._timeout, WHOLE_ANSWER_SECONDS) if self.whole else self._timeout
        return min(self._timeout + self._load, self._limits.longest)

    @property
    def seconds(self) -> float:
        """The time since its start."""
        return self._now() - self._started_at

    @property
    def progressed_after(self) -> float:
        """The last progress, in seconds since the start: a piece of the answer, or the load. 0: there was none."""
        progressed = self._progressed_at - self._started_at
        if self._first_token_at is None and self._load:
            return min(self.seconds, self._load)
        return self.seconds if self.whole else progressed

    @property
    def first_token_after(self) -> float | None:
        """When the first piece of the answer arrived, in seconds since the start; None: none has."""
        return None if self._first_token_at is None else self._first_token_at - self._started_at

    def failure(self) -> Failure:
        """The failure of a call that reached a limit: it names the limit."""
        return Failure(error_class=ErrorClass.TIMEOUT, detail=self._reached()[1])

    def _now(self) -> float:
        return self._awake.read(asyncio.get_running_loop().time())

    def _check(self) -> None:
        """End the call if a limit is reached, else look again when the next one could be."""
        loop, now = asyncio.get_running_loop(), self._now()
        due = max(self._reached()[0], self._awake.limits_from)
        if now < due:
            self._timer = loop.call_later(min(due - now, TICK_SECONDS), self._check)
        elif self._end is not None:
            self._end.reschedule(loop.time())

    def _reached(self) -> tuple[float, str]:
        """The limit that is reached first: its moment, and the words for it."""
        longest = self.longest
        reached = (self._started_at + longest, f"no complete answer within {_format(longest)}")
        if self.whole or not self.needs_stream:
            return reached
        return min([reached, *self._stream_limits()])

    def _stream_limits(self) -> list[tuple[float, str]]:
        limits, load = self._limits, self._load
        loaded = f", of which {_format(load)} are for loading the model" if load else ""
        if self._first_token_at is None:
            if limits.first_token is None:
                return []
            seconds = load + limits.first_token_after_load if load else limits.first_token
            return [(self._started_at + seconds, f"no first token within {_format(seconds)}{loaded}")]
        since = max(self._progressed_at, self._first_token_at)
        ends = [since + limits.stall] if limits.stall is not None else []
        if self._counted == 0 and limits.start is not None and not load:
            ends.append(self._started_at + limits.start)
        counted = f"after {self.characters} character{'' if self.characters == 1 else 's'}"
        return [(end, f"no progress for {_format(end - since)} {counted}") for end in ends]


def _format(seconds: float) -> str:
    return f"{round(seconds, 1):g} s"
