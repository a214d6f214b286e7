"""The limits of a call within its timeout: they need a stream, so that they can be noticed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """The limits that are checked while an answer is streamed, in seconds. None: no limit.

    `first_token`: until the first token. `stall`: without progress after it. `start`: until the first progress, so that
    a trickle uses up no time of the models after it. `load`: the longest load, if the model must be loaded first: then
    the first token may take `load` and `first_token_after_load`, and the call as much longer, up to `longest`.
    """

    first_token: float | None = None
    stall: float | None = None
    start: float | None = None
    load: float = 0.0
    first_token_after_load: float = 0.0
    longest: float = 0.0
