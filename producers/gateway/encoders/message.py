"""The bodies of Anthropic's messages."""

from __future__ import annotations

from typing import Any

from openfall.router_core.jobs.result import Result


def message_id(job_id: str) -> str:
    return f"msg_{job_id}"


def message(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response: the provider's own, with an id of ours, and the model that the caller asked for."""
    body = dict(result.body or {})
    body.update(id=message_id(result.id), type="message", role="assistant", model=asked_for)
    if receipt is not None:
        body["openfall"] = receipt
    return body
