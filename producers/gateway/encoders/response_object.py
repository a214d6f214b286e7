"""The Response of OpenAI's Responses. Pure.

It has every field that Open Responses requires, echoing the request, and no null where a number is required: the AI SDK
refuses a thin one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.response_items import is_own, item_id
from openfall.router_core.jobs.response_status import response_id, response_status
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.unchecked_json import as_object, as_objects
from openfall.router_core.vocabulary import ErrorClass

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "background": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""The fields of the request that a Response repeats, with their defaults."""

ERROR_CODES: Mapping[ErrorClass, str] = {
    ErrorClass.RATE_LIMITED: "rate_limit_exceeded",
    ErrorClass.BAD_REQUEST: "invalid_prompt",
    ErrorClass.CONTEXT_OVERFLOW: "invalid_prompt",
    ErrorClass.CONTENT_FILTER: "invalid_prompt",
    ErrorClass.UNSUPPORTED: "invalid_prompt",
}
"""The codes that clients know. Every other error is `server_error`; the receipt has its cause."""


def echo_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """What every Response of a request repeats."""
    echo = {name: default if request.get(name) is None else request[name] for name, default in _ECHOED.items()}
    reasoning, text = as_object(request.get("reasoning")), as_object(request.get("text"))
    form = as_object(text.get("format")) or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"description": None, "strict": False, **form}
    functions = [
        {"description": None, "parameters": None, "strict": None, **tool}
        for tool in as_objects(request.get("tools"))
        if tool.get("type") == "function"
    ]
    return echo | {
        "service_tier": "default",
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {**text, "format": form},
        "tools": functions,
    }


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What is the same in every state of a Response. `created_at`: epoch seconds."""

    job_id: str
    asked_for: str
    created_at: int
    echo: Mapping[str, Any]

    def response(self, status: str, **more: Any) -> dict[str, Any]:
        """The Response in a state that is no end."""
        return {
            "id": response_id(self.job_id),
            "object": "response",
            "created_at": self.created_at,
            "completed_at": None,
            "status": status,
            "model": self.asked_for,
            "output": [],
            "usage": None,
            "error": None,
            "incomplete_details": None,
            **self.echo,
            **more,
        }

    def ended(self, result: Result, receipt: Mapping[str, Any], first_index: int = 0) -> dict[str, Any]:
        """The Response of a job that has ended. Its items count from `first_index`."""
        status, body = response_status(result), result.body or {}
        left_out = as_object(body.get("openfall")).get("left_out") or []
        more: dict[str, Any] = {"openfall": {**receipt, "left_out": left_out}}
        if result.answered:
            more |= {"output": output_items(self.job_id, body, first_index), "usage": _usage(body)}
            if status == "incomplete":
                more["incomplete_details"] = body.get("incomplete_details")
            more["completed_at"] = self.created_at + round(result.took) if status == "completed" else None
        elif status == "failed":
            code = ERROR_CODES.get(result.error or ErrorClass.OTHER, "server_error")
            more["error"] = {"code": code, "message": result.detail or "no model answered"}
        return self.response(status, **more)


def output_items(job_id: str, body: Mapping[str, Any], first_index: int = 0) -> list[dict[str, Any]]:
    """The items of a whole Response. Those of a provider of Responses keep their ids: it finds them by these."""
    items = enumerate(as_objects(body.get("output")), first_index)
    return [_named(dict(item), index, job_id) for index, item in items]


def _named(item: dict[str, Any], index: int, job_id: str) -> dict[str, Any]:
    if is_own(item):
        item["id"] = item_id(str(item["id"]).partition("_")[0], index, job_id)
    return item


def _usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage, with every number that clients read."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return None
    of_prompt, of_answer = as_object(usage.get("input_tokens_details")), as_object(usage.get("output_tokens_details"))
    prompt, answer = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    cached, stored = _count(of_prompt, "cached_tokens"), _count(of_prompt, "cache_write_tokens")
    return {
        **usage,
        "input_tokens": prompt,
        "input_tokens_details": {**of_prompt, "cached_tokens": cached, "cache_write_tokens": stored},
        "output_tokens": answer,
        "output_tokens_details": {**of_answer, "reasoning_tokens": _count(of_answer, "reasoning_tokens")},
        "total_tokens": _count(usage, "total_tokens") or prompt + answer,
    }


def _count(usage: Mapping[str, Any], name: str) -> int:
    """A number of tokens; 0 if the provider gives none."""
    count = usage.get(name)
    return count if isinstance(count, int) else 0
