"""The bodies and chunks of OpenAI's chat completions."""

from __future__ import annotations

from typing import Any

from openfall.router_core.jobs.result import Result


def completion_id(job_id: str) -> str:
    return f"chatcmpl-{job_id}"


def completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response: the provider's own, with an id of ours, and the model that the caller asked for, since
    clients compare it."""
    body = dict(result.body or {})
    body.update(id=completion_id(result.id), object="chat.completion", model=asked_for)
    if receipt is not None:
        body["openfall"] = receipt
    return body


def text_completion(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response in the form of the legacy completions."""
    body = completion(result, asked_for, receipt)
    body.update(id=f"cmpl-{result.id}", object="text_completion")
    body["choices"] = [
        {
            "index": choice.get("index", number),
            "text": (choice.get("message") or {}).get("content") or "",
            "logprobs": None,
            "finish_reason": choice.get("finish_reason"),
        }
        for number, choice in enumerate(body.get("choices") or ())
    ]
    return body
