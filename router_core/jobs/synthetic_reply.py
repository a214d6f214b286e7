"""A text without a model as a whole response of each dialect, so that an SDK reads it like any other answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.response_body import build_response
from openfall.router_core.jobs.response_items import item_id, message_item, text_part
from openfall.router_core.vocabulary import Dialect

MODEL = "openfall"
"""The model name of such a response."""


def synthetic_reply(job: CompletionJob, text: str, now: float) -> Completion:
    """The text as an answer to a job, in its dialect, written at `now` (epoch seconds). It cost no tokens."""
    body, finish_reason = _BODIES[job.dialect](job.id, text, now)
    return Completion(text=text, finish_reason=finish_reason, body=body)


def _openai(job_id: str, text: str, now: float) -> tuple[dict[str, Any], str]:
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{job_id}",
        "object": "chat.completion",
        "created": int(now),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }, "stop"


def _anthropic(job_id: str, text: str, _now: float) -> tuple[dict[str, Any], str]:
    return {
        "id": f"msg_{job_id}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }, "end_turn"


def _ollama(_job_id: str, text: str, now: float) -> tuple[dict[str, Any], str]:
    return {
        "model": MODEL,
        "created_at": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": 0,
        "prompt_eval_duration": 0,
        "eval_count": 0,
        "eval_duration": 0,
    }, "stop"


def _responses(job_id: str, text: str, now: float) -> tuple[dict[str, Any], str]:
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    output = [message_item(item_id("msg", 0, job_id), [text_part(text)])]
    return build_response(f"resp_{job_id}", output, usage, model=MODEL, created_at=int(now)), "completed"


_BODIES: Mapping[Dialect, Callable[[str, str, float], tuple[dict[str, Any], str]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "responses": _responses,
}
