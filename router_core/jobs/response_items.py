"""The items of OpenAI's Responses: those of a request as messages, and new ones for an answer. Pure.

No function raises: a part without the expected shape counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openfall.router_core.jobs.unchecked_json import Body, as_objects

Item = dict[str, Any]

OWN_ID = "openfall"
"""A part of the id of each item that no provider of Responses wrote. No such provider knows the item."""

FUNCTION_TOOLS = ("function", "custom")
"""The types of the tools that the caller runs. The provider runs all others."""

CALLS = ("function_call", "custom_tool_call")
"""The types of the calls of these tools. The input of a custom tool is a text."""


def item_id(prefix: str, index: int, job_id: str = "") -> str:
    """The id of an item of ours: `msg_openfall_0`, or `msg_openfall_{job}_0` once the job is known."""
    return "_".join(filter(None, (prefix, OWN_ID, job_id, str(index))))


def is_own(item: Body) -> bool:
    """Whether an item has an id of ours."""
    return f"_{OWN_ID}_" in str(item.get("id"))


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def message_item(item_id: str, parts: list[Item], status: str = "completed") -> Item:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def reasoning_item(item_id: str, text: str, status: str = "completed") -> Item:
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str = "completed") -> Item:
    own = {"id": item_id, "type": "function_call", "status": status}
    return {**own, "call_id": call_id or item_id.replace("fc_", "call_", 1), "name": name, "arguments": arguments}


def input_messages(body: Body) -> list[Body]:
    """The `input` of a request as messages that every reader of requests understands. Reasoning and the items of a
    provider's tools are left out."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return list(_messages(as_objects(given)))


def _messages(items: list[Body]) -> Iterator[Body]:
    for item in items:
        match item.get("type") or ("message" if "role" in item else None):
            case "message":
                yield item
            case "function_call" | "custom_tool_call":
                function = {key: item[key] for key in ("name", "arguments", "input") if key in item}
                yield {"role": "assistant", "tool_calls": [{"function": function}]}
            case "function_call_output" | "custom_tool_call_output":
                yield {"role": "tool", "content": item.get("output")}
