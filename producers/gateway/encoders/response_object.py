"""The Response of OpenAI's Responses. Pure.

It has every field that Open Responses requires, echoing the request, and no null where a number is required: the AI SDK
refuses a thin one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.result import Result, Status
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

_ENDS: Mapping[Status, str] = {
    Status.ANSWERED: "completed",
    Status.DEGRADED: "completed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
}


def response_id(job_id: str) -> str:
    return f"resp_{job_id}"


def echo_of(request: Mapping[str, Any], left_out: Iterable[str] = ()) -> dict[str, Any]:
    """What every Response of a request repeats."""
    echo = {name: default if request.get(name) is None else request[name] for name, default in _ECHOED.items()}
    reasoning, text = _object(request.get("reasoning")), _object(request.get("text"))
    form = _object(text.get("format")) or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"description": None, "strict": False, **form}
    given = request.get("tools")
    tools = [tool for tool in (given if isinstance(given, list) else ()) if isinstance(tool, Mapping)]
    functions = [
        {"description": None, "parameters": None, "strict": None, **tool}
        for tool in tools
        if tool.get("type") == "function"
    ]
    return echo | {
        "service_tier": "default",
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {**text, "format": form},
        "tools": functions,
        "left_out": list(left_out),
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
        echo = {key: value for key, value in self.echo.items() if key != "left_out"}
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
            **echo,
            **more,
        }

    def ended(self, result: Result, receipt: Mapping[str, Any], first_index: int = 0) -> dict[str, Any]:
        """The Response of a job that has ended. Its items count from `first_index`."""
        status, finish = _ENDS[result.status], result.finish_reason
        more: dict[str, Any] = {"openfall": {**receipt, "left_out": self.echo.get("left_out", [])}}
        if result.answered:
            body = result.body or {}
            more |= {"output": output_items(self.job_id, body, first_index), "usage": _usage(body)}
            if finish in ("length", "content_filter"):
                status = "incomplete"
                reason = "max_output_tokens" if finish == "length" else finish
                more["incomplete_details"] = {"reason": reason}
            more["completed_at"] = self.created_at + round(result.took) if status == "completed" else None
        elif status == "failed":
            code = ERROR_CODES.get(result.error or ErrorClass.OTHER, "server_error")
            more["error"] = {"code": code, "message": result.detail or "no model answered"}
        return self.response(status, **more)


def output_items(job_id: str, body: Mapping[str, Any], first_index: int = 0) -> list[dict[str, Any]]:
    """The items of a whole chat completion: reasoning, message, tool calls."""
    choices = body.get("choices") or [{}]
    message = choices[0].get("message") or {}
    items: list[dict[str, Any]] = []

    def index() -> int:
        return first_index + len(items)

    if reasoning := message.get("reasoning_content") or message.get("reasoning"):
        items.append(reasoning_item(job_id, index(), reasoning))
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    parts = [text_part(content)] if content else []
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    if parts or not (calls or items):
        items.append(message_item(job_id, index(), parts or [text_part("")]))
    for call in calls:
        function = call.get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments") or "{}"
        named = {"call_id": call.get("id"), "name": name, "arguments": arguments}
        items.append(call_item(job_id, index(), named))
    return items


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(job_id: str, index: int, parts: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {"id": f"msg_{job_id}_{index}", "type": "message", "status": status, "role": "assistant", "content": parts}


def reasoning_item(job_id: str, index: int, text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": f"rs_{job_id}_{index}", "type": "reasoning", "summary": [], "content": content, "status": status}


def call_item(job_id: str, index: int, function: Mapping[str, Any], status: str = "completed") -> dict[str, Any]:
    """A tool call. `function` has its `call_id`, `name` and `arguments`."""
    own = {"id": f"fc_{job_id}_{index}", "type": "function_call", "status": status}
    return {**own, **function, "call_id": function.get("call_id") or f"call_{job_id}_{index}"}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return None
    prompt, answer = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    of_prompt, of_answer = _object(usage.get("prompt_tokens_details")), _object(usage.get("completion_tokens_details"))
    cached, stored = _count(of_prompt, "cached_tokens"), _count(of_prompt, "cache_write_tokens")
    reasoning = _count(of_answer, "reasoning_tokens")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": stored},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": _count(usage, "total_tokens") or prompt + answer,
    }


def _count(usage: Mapping[str, Any], name: str) -> int:
    """A number of tokens; 0 if the provider gives none."""
    count = usage.get(name)
    return count if isinstance(count, int) else 0
