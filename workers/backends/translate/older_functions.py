"""The older form of OpenAI's tools: `functions`, a `function_call`, and messages of the role `function`. Pure.

Requests and histories become the newer form, which the translators read, and answers the form that the caller has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import Body, listed


def with_newer_calls(body: Body, request: Body) -> Body:
    """An answer whose `function_call` is a tool call: some servers have the older form only. A caller of `functions`
    gets that."""
    choices = body.get("choices")
    if request.get("functions") or not isinstance(choices, list):
        return body
    newer = [_with_newer_call(choice) if isinstance(choice, Mapping) else choice for choice in choices]
    return body if newer == choices else {**body, "choices": newer}


def _with_newer_call(choice: Body) -> Body:
    message = choice.get("message")
    function = message.get("function_call") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(function, Mapping) or message.get("tool_calls"):
        return choice
    rest = {key: value for key, value in message.items() if key != "function_call"}
    reason = "tool_calls" if choice.get("finish_reason") == "function_call" else choice.get("finish_reason")
    message = {**rest, "tool_calls": [{"type": "function", "function": dict(function)}]}
    return {**choice, "message": message, "finish_reason": reason}


def has_functions(body: Body) -> bool:
    """Whether a request offers tools in the older form, as `functions`."""
    return bool(body.get("functions")) and not body.get("tools")


def with_newer_tools(body: Body) -> Body:
    """A request whose `functions` are tools, and whose `function_call` is a `tool_choice`."""
    if not has_functions(body):
        return body
    tools = [{"type": "function", "function": function} for function, _ in listed(body["functions"], "functions")]
    choice = body.get("function_call")
    if isinstance(choice, Mapping):
        choice = {"type": "function", "function": choice}
    rest = {key: value for key, value in body.items() if key not in ("functions", "function_call")}
    return {**rest, "tools": tools, "tool_choice": choice}


def with_older_calls(body: dict[str, Any], request: Body) -> dict[str, Any]:
    """An answer whose call is a `function_call` if the request has `functions`. That form has one call, so it is the
    first: once its result is known, the model makes the next one."""
    if not has_functions(request):
        return body
    return {**body, "choices": [_with_older_call(choice) for choice in body["choices"]]}


def _with_older_call(choice: Body) -> Body:
    calls = choice["message"].get("tool_calls")
    if not calls:
        return choice
    message = {key: value for key, value in choice["message"].items() if key != "tool_calls"}
    reason = "function_call" if choice["finish_reason"] == "tool_calls" else choice["finish_reason"]
    return {**choice, "message": {**message, "function_call": calls[0]["function"]}, "finish_reason": reason}


def with_tool_calls(messages: Any) -> Iterator[tuple[Body, str]]:
    """The messages, each with its path. An older `function_call` becomes a tool call, and the result of a function that
    of a tool."""
    last_id = ""
    for message, path in listed(messages, "messages"):
        function = message.get("function_call")
        if message.get("role") == "assistant" and isinstance(function, Mapping) and function:
            last_id = f"call_{path[9:-1]}"
            call = {"id": last_id, "type": "function", "function": function}
            yield {**message, "function_call": None, "tool_calls": [call]}, path
        elif message.get("role") == "function" and last_id:
            yield {**message, "role": "tool", "tool_call_id": last_id}, path
        else:
            yield message, path
