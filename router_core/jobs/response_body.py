"""The body of a whole Response of OpenAI's, with the fields that its SDKs require. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def build_response(
    response_id: str,
    output: Sequence[Mapping[str, Any]],
    usage: Mapping[str, Any] | None,
    *,
    model: str,
    created_at: int,
) -> dict[str, Any]:
    """A complete Response of these items. What it repeats of the request has the defaults of the API."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "completed",
        "model": model,
        "output": list(output),
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }
