"""What a wire protocol must offer: one call in, one outcome out. Nothing here knows of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import (
    Dialect,
)

SAMPLING = frozenset({"temperature", "top_p", "top_k"})
"""What a model with `sampling_params: false` must not be told."""

OnDelta = Callable[[str], None]
"""Called with each piece of text as it arrives, on the event loop; it must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `body` is the caller's own, in its `dialect`; the backend sets model, auth and streaming.

    A backend that speaks that dialect sends the body verbatim but for those; any other translates it, and the answer
    back: the body of a `Completion` is in the caller's dialect. `timeout` bounds the whole call in seconds, from
    connecting to the last byte. `max_tokens` is the model's default for a body that names none. `sampling_params`
    False: the model refuses temperature, top_p and top_k, so they are left out. `ctx` is the model's context, for
    endpoints that must be told (Ollama's num_ctx).
    """

    body: Mapping[str, Any]
    upstream: str
    timeout: float
    dialect: Dialect = "openai"
    max_tokens: int | None = None
    sampling_params: bool = True
    ctx: int | None = None

    @property
    def prompt(self) -> Any:
        """The parts of the body that nobody but the model may read."""
        return [self.body.get(key) for key in ("system", "messages")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in an endpoint's memory. `upstream` is the endpoint's own spelling: compare by `same_model`.

    `vram_gb` is in GiB; `vram_share` is the part of it on the card (0 to 1); None: not known.
    """

    upstream: str
    vram_gb: float | None = None
    vram_share: float | None = None
    ctx: int | None = None


def same_model(one: str, other: str) -> bool:
    """Whether two names at one endpoint mean the same model. To Ollama a name without a tag is tagged `latest`."""
    return one.removesuffix(":latest") == other.removesuffix(":latest")


class CompletionBackend(Protocol):
    """One endpoint, spoken to in one wire protocol.

    `complete` never raises for what an upstream or a network may do: failures are data (`Failure`). It raises only
    `asyncio.CancelledError`, and closes the connection then, which makes engines stop generating.
    """

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given."""
        ...

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """Whether the endpoint answers at all, at no cost; None: it does."""
        ...

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        """The names of the models that the endpoint says it has."""
        ...

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        """The models in memory; None: this endpoint does not say, or has all of them ready."""
        ...

    async def load(self, upstream: str, ctx: int | None, timeout_s: float) -> Failure | None:
        """Bring a model into memory; None: it is there. An endpoint that has all of them ready does nothing."""
        ...

    async def unload(self, upstream: str, timeout_s: float) -> Failure | None:
        """Take a model out of memory; None: it is gone. A `Failure` from an endpoint that cannot."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
