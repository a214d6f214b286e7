"""The interface of a wire protocol: one call in, one outcome out. It knows nothing of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from openfall.router_core.catalog.capabilities import Thinking
from openfall.router_core.catalog.model_names import same_model
from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.jobs.stream_pieces import Piece
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.stall_watch import CallWatch

SAMPLING_PARAMETERS = frozenset({"temperature", "top_p", "top_k"})
"""A model with `sampling_params: false` does not get these."""

FIELDS_OF_ANSWERS = (
    "reasoning_content", "reasoning_details", "reasoning", "thinking_blocks", "refusal", "annotations", "audio",
    "function_call",
)  # fmt: skip
"""Fields of answers that callers send back in a history. Strict servers refuse those of other providers."""

OnPieces = Callable[[Sequence[Piece]], None]
"""Called with the pieces of an answer as they arrive, on the event loop; it must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `body` is the caller's own, in its `dialect`; the backend sets model, auth and streaming.

    A backend of that dialect sends the rest of the body verbatim. Any other translates it, and the answer back: the
    body of a `Completion` is in the caller's dialect. `timeout` bounds the whole call in seconds, from connecting to
    the last byte. `max_tokens` is the model's default for a body that names none. `sampling_params` False: the model
    refuses temperature, top_p and top_k, so the backend omits them. `thinking`: how the model is asked to think. `ctx`
    is the model's context, for endpoints that need it in a call (Ollama's num_ctx). `watch` has further limits, which
    may need a stream, and counts the progress. `wire_headers` are sent by a backend of the caller's dialect.
    """

    body: Mapping[str, Any]
    upstream: str
    timeout: float
    dialect: Dialect = "openai"
    max_tokens: int | None = None
    sampling_params: bool = True
    thinking: Thinking | None = None
    ctx: int | None = None
    watch: CallWatch | None = None
    wire_headers: Mapping[str, str] = field(default_factory=dict)
    service_tier: str = ""
    """What a backend of OpenAI's protocol asks for; empty: nothing."""
    max_inputs: int | None = None
    """For embeddings: the most texts of one request. None: as the protocol knows."""

    @property
    def prompt(self) -> Any:
        """The private parts of the body, which only the model may read."""
        return [self.body.get(key) for key in ("system", "messages", "instructions", "input", "suffix")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in an endpoint's memory. `upstream` is the endpoint's own spelling, `other_names` are further ones of the
    same model there: compare by `is_called`.

    `vram_gb` is in GiB; `vram_share` is the part of the model on the card (0 to 1). None means unknown.
    """

    upstream: str
    other_names: tuple[str, ...] = ()
    vram_gb: float | None = None
    vram_share: float | None = None
    ctx: int | None = None

    def is_called(self, name: str) -> bool:
        """Whether a name means this model."""
        return any(same_model(name, own) for own in (self.upstream, *self.other_names))


class CompletionBackend(Protocol):
    """The client of one endpoint in one wire protocol.

    A method raises nothing for a fault of an upstream or a network: failures are data (`Failure`). It raises only
    `asyncio.CancelledError`, and closes the connection then, which makes engines stop generating.
    """

    async def complete(self, request: Request, on_pieces: OnPieces | None = None) -> Outcome:
        """Make the call. It is streamed when `on_pieces` is given, or the limits of `request.watch` need it."""
        ...

    async def embed(self, request: Request) -> Outcome:
        """The embeddings of the inputs of a body in OpenAI's form. The body of a `Completion` has packed vectors."""
        ...

    async def check_alive(self, timeout_s: float) -> Failure | None:
        """Check, at no cost, whether the endpoint responds at all. None: it does."""
        ...

    async def list_models(self, timeout_s: float) -> tuple[str, ...] | Failure:
        """The names of the models that the endpoint lists."""
        ...

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure | None:
        """The models in memory. None: this endpoint does not say, or has all of its models ready."""
        ...

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        """Load a model into memory. None: it is loaded. An endpoint that has all of its models ready does nothing.

        `epoch`: of the manager of the cards that orders it, 0 for a person. An endpoint that can refuses an older one.
        """
        ...

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        """Unload a model from memory. None: it is unloaded. A `Failure` if the endpoint cannot."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
