"""What a producer gets for a job: exactly one terminal result."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from router_core.outcome import ErrorClass


class Status(StrEnum):
    """How a job ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Result(BaseModel):
    """The end of a job, and how it came about.

    `body` is the provider's whole response in the job's dialect. `waited` is seconds from acceptance to the start of
    the call that ended it, `took` seconds from acceptance to the result. Unknown token counts are None, never 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    status: Status
    model: str | None = None
    backend: str | None = None
    body: dict[str, Any] | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: ErrorClass | None = None
    detail: str = ""
    attempts: int = 0
    waited: float = 0.0
    took: float = 0.0
    reason: str = ""
    fallback_used: bool = False

    @property
    def text(self) -> str:
        """The answer as text; empty when there is none. Read from the response's first choice (OpenAI dialect)."""
        choices = (self.body or {}).get("choices") or [{}]
        content = (choices[0].get("message") or {}).get("content")
        return content if isinstance(content, str) else ""

    @property
    def answered(self) -> bool:
        return self.status is Status.ANSWERED
