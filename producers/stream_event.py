"""The type of the events that `stream` yields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, TypedDict

from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import Piece

EventName = Literal[
    "queued", "scheduled", "started", "put_back", "loading", "writing", "waiting", "waiting_for_model",
    "model_switching", "blocked", "delta", "reset", "fallen", "degraded", "held", "done", "unreadable",
]  # fmt: skip


class StreamEvent(TypedDict, total=False):
    """An event of a job. `event` names it, and a later stream continues at `cursor`. Which other fields it has depends
    on its name: see `AsyncOpenfall.stream`."""

    event: Required[EventName]
    cursor: Required[int]
    at: int
    """Milliseconds since the epoch, of the server's clock."""
    text: str
    pieces: Sequence[Piece]
    result: Result
    status: str
    why: str
    reason: str
    """Why no model serves the job now: a word; `detail` is a sentence."""
    detail: str
    by: str
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
