"""The conversation of a Response: its input, and what came before it, as items. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.jobs.response_items import is_own
from openfall.router_core.jobs.unchecked_json import as_list, as_objects

Item = dict[str, Any]

_OF_THE_GATEWAY = frozenset({"background", "background_options", "previous_response_id"})
"""Fields that the gateway itself obeys. A provider would queue the Response, or look for one that it does not have."""
_UNSUPPORTED = ("conversation", "prompt")
"""Fields that name something that is stored at OpenAI."""
_PART_FIELDS = ("type", "text", "refusal", "annotations")


def request_of(body: Mapping[str, Any], earlier: list[Item]) -> dict[str, Any]:
    """The request as a provider gets it, behind the items before it. Raises `Refusal`."""
    for name in _UNSUPPORTED:
        if body.get(name) is not None:
            raise Refusal("unsupported", f"`{name}` is stored at OpenAI: send the messages themselves", name)
    request = {name: value for name, value in body.items() if name not in _OF_THE_GATEWAY}
    if earlier:
        request["input"] = [*earlier, *input_items(body.get("input"))]
    return request


def input_items(given: Any) -> list[Any]:
    """An `input` as a list of items. A malformed one is refused where the request is checked."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return as_list(given)


def output_as_input(body: Mapping[str, Any]) -> list[Item]:
    """The items of an answer as a provider takes them back, also one that did not write them.

    Reasoning returns only where it has its encrypted content. No other item keeps its id, as that would be looked up.
    """
    return list(_returned(as_objects(body.get("output"))))


def _returned(items: list[Mapping[str, Any]]) -> Iterator[Item]:
    for item in items:
        match item.get("type"):
            case "message":
                parts = as_objects(item.get("content"))
                content = [{name: part[name] for name in _PART_FIELDS if name in part} for part in parts]
                yield {"type": "message", "role": "assistant", "content": content}
            case "reasoning":
                if item.get("encrypted_content") and not is_own(item):
                    fields = ("type", "id", "summary", "encrypted_content")
                    yield {name: item[name] for name in fields if name in item}
            case "function_call" | "custom_tool_call":
                yield {name: value for name, value in item.items() if name not in ("id", "status")}
            case _:
                yield dict(item)


def listed_items(job_id: str, items: list[Any]) -> list[Item]:
    """The items of a request, each with an id and with parts, as clients list them."""
    return [_listed(f"_openfall_{job_id}_in_{number}", item) for number, item in enumerate(as_objects(items))]


def _listed(suffix: str, item: Mapping[str, Any]) -> Item:
    if item.get("type", "message") != "message":
        return {"id": f"item{suffix}", "status": "completed", **item}
    content, kind = item.get("content"), "output_text" if item.get("role") == "assistant" else "input_text"
    own: dict[str, Any] = {"annotations": []} if kind == "output_text" else {}
    parts = [{"type": kind, "text": content, **own}] if isinstance(content, str) else content
    return {"id": f"msg{suffix}", "status": "completed", **item, "type": "message", "content": parts}
