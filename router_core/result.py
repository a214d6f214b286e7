"""What a producer gets for a job: exactly one terminal result."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from router_core.outcome import Attempt, ErrorClass


class Status(StrEnum):
    """How a job ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Result(BaseModel):
    """The end of a job, and how it came about.

    `body` is the provider's whole response in the job's dialect. `waited` is seconds from acceptance to the start of
    the call that ended it, `took` seconds from acceptance to the result. `attempts` are all calls made for it, oldest
    first; unknown token counts are None, never 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: Status
    attempts: tuple[Attempt, ...] = ()
    body: dict[str, Any] | None = None
    finish_reason: str | None = None
    error: ErrorClass | None = None
    detail: str = ""
    waited: float = 0.0
    took: float = 0.0
    reason: str = ""
    """Why this chain: a sentence a person understands."""

    @property
    def text(self) -> str:
        """The answer as text; empty when there is none. Read from the response's first choice (OpenAI dialect)."""
        choices = (self.body or {}).get("choices") or [{}]
        content = (choices[0].get("message") or {}).get("content")
        return content if isinstance(content, str) else ""

    @property
    def answered(self) -> bool:
        return self.status is Status.ANSWERED

    @property
    def model(self) -> str | None:
        """The model that was asked last: of an answered job, the one that answered."""
        return self.attempts[-1].model if self.attempts else None

    @property
    def backend(self) -> str | None:
        return self.attempts[-1].backend if self.attempts else None

    @property
    def output_tokens(self) -> int | None:
        return self.attempts[-1].output_tokens if self.attempts else None

    @property
    def input_tokens(self) -> int | None:
        return self.attempts[-1].input_tokens if self.attempts else None

    @property
    def fallback_used(self) -> bool:
        """Another model than the first of the chain answered."""
        return self.answered and self.model != self.attempts[0].model
