"""One call as a backend gets it: the request of a job, and the receiver of the pieces of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.catalog.capabilities import Thinking
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
