"""The events that `stream` yields, and their type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal, NotRequired, Required, TypeAlias, TypedDict, cast

from openfall.producers.errors import StillQueued
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import Piece


class _Event(TypedDict):
    """A later stream continues at the `cursor`."""

    cursor: int
    at: NotRequired[int]
    """Milliseconds since the epoch, of the server's clock."""


class DeltaEvent(_Event):
    """A part of the answer. A `reset` voids all earlier ones."""

    event: Literal["delta"]
    text: str
    pieces: NotRequired[Sequence[Piece]]
    """Text, thinking and tool calls: see `jobs/stream_pieces.py`."""


class FallEvent(_Event):
    """No model serves the job now. A `degraded` has the `text` of the interim reply, if there is one; a `held` job
    waits."""

    event: Literal["fallen", "degraded", "held"]
    reason: str
    """Why: a word; `detail` is a sentence."""
    detail: str
    by: NotRequired[str | None]
    text: NotRequired[str]


class DoneEvent(_Event):
    """The end of the job, and of its stream."""

    event: Literal["done"]
    status: str
    result: Result


class ProgressEvent(_Event, total=False):
    """What happens before an answer.

    Interactive jobs have `loading` (of the model), `writing` (the number of characters so far) and `waiting` (for an
    answer in one piece). A `reset` voids all earlier deltas, since another attempt begins; `queued` repeats, with the
    same cursor, when `position` changes. After some seconds without an event `blocked` has `why` no worker may take the
    job, with the remedy; `waiting_for_model` and `model_switching` have `card`, `eta_seconds`.
    """

    event: Required[
        Literal[
            "queued", "scheduled", "started", "put_back", "loading", "writing", "waiting", "waiting_for_model",
            "model_switching", "blocked", "reset", "unreadable",
        ]
    ]  # fmt: skip
    why: str
    queue: str
    position: int
    due: int
    """Milliseconds since the epoch, of the server's clock."""
    backend: str
    model: str
    seconds: float
    expected_seconds: float | None
    limit_seconds: float
    characters: int
    text_characters: int
    card: str
    eta_seconds: int | None


StreamEvent: TypeAlias = DeltaEvent | FallEvent | DoneEvent | ProgressEvent
"""An event of a job. Its `event` says which of them it is, for type checkers too."""


async def events_for_caller(
    events: AsyncGenerator[dict[str, Any], None], job_id: str, limit: float | None, *, pieces: bool
) -> AsyncGenerator[StreamEvent, None]:
    """The events of `follow` for at most `limit` seconds, without the `pieces` of a `delta` unless they are wanted, and
    without one that has no text then. Raises `StillQueued` when the time is over."""
    ends_at = None if limit is None else asyncio.get_running_loop().time() + limit
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout_at(ends_at):  # not around a yield, where it would cancel code of the caller
                    event = await anext(events, None)
            except TimeoutError:
                raise StillQueued(job_id) from None
            if event is None:
                return
            if event["event"] != "delta" or pieces:
                yield cast("StreamEvent", event)
            elif event["text"]:
                yield cast("StreamEvent", {key: value for key, value in event.items() if key != "pieces"})
