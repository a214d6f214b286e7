"""What a wire protocol must offer: one call in, one outcome out. Nothing here knows of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from router_core.outcome import Outcome

OnDelta = Callable[[str], None]
"""Called with each piece of text as it arrives, on the event loop; it must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `body` is the caller's own, in the dialect of the job; the backend sets model, auth and streaming.

    `timeout` bounds the whole call in seconds, from connecting to the last byte. `max_tokens` is the model's default
    for a body that names none.
    """

    body: Mapping[str, Any]
    upstream: str
    timeout: float
    max_tokens: int | None = None


class CompletionBackend(Protocol):
    """One endpoint, spoken to in one wire protocol.

    `complete` never raises for what an upstream or a network may do: failures are data (`Failure`). It raises only
    `asyncio.CancelledError`, and closes the connection then, which makes engines stop generating.
    """

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
