"""What a producer submits: one completion, or the embeddings of some texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from openfall.router_core.vocabulary import Dialect, JobKind, Urgency

JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""What rq accepts as a job id (letters, digits, `-`, `_`), long enough not to collide."""

Producer = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ConsideredModel(BaseModel):
    """One model that was considered for a job, with the reason for its place in the chain, or for its exclusion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    reason: str
    chosen: bool = True
    """False: the job cannot or may not use it."""


class CompletionJob(BaseModel):
    """One request for a completion, with the body that the caller wrote; or one for embeddings (`kind`), whose body is
    in the form of OpenAI's, and whose chain is one model.

    `chain` are model aliases in the order they may be tried. `deadline` and `accepted_at` are moments on the Redis
    server's clock (epoch seconds); they are set when the job is accepted and are 0 before that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: JobId
    producer: Producer
    chain: Annotated[tuple[str, ...], Field(min_length=1)]
    body: dict[str, Any]
    kind: JobKind = JobKind.COMPLETION
    dialect: Dialect = "openai"
    wire_headers: dict[str, str] = {}
    """Headers of the caller's request that a backend of its dialect sends too: see `wire_headers.py`."""
    role: str | None = None
    task: str | None = None
    group: str | None = None
    """The catalog's name of the group whose limits and ledger apply."""
    local_only: bool = False
    urgency: Urgency = Urgency.BACKGROUND
    configured_chain: tuple[str, ...] = ()
    """The chain as the configuration has it, if `chain` differs: `route` has excluded or moved models."""
    reason: str = ""
    """Why this chain: a sentence a person understands, from `route`."""
    considered: tuple[ConsideredModel, ...] = ()
    """Every model that `route` considered, in the order of the chain, the excluded ones last."""
    stream: bool = False
    traceparent: str | None = None
    """The trace of its caller (W3C Trace Context); None: the job has a trace of its own."""
    deadline: float = 0.0
    accepted_at: float = 0.0

    @property
    def as_configured(self) -> tuple[str, ...]:
        """The chain as the configuration has it. Its first model is the first choice."""
        return self.configured_chain or self.chain

    @property
    def label(self) -> str:
        """What rq and logs may show of a job: never its prompt."""
        return f"{self.role or self.task or '-'}/{self.urgency} {self.chain[0]}"
