"""The list of models: what a caller may send as `model`. One list serves the SDKs of OpenAI and of Anthropic.

It is answered from memory, also while Redis is away: programs ask for it at their start.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.paging import page_body
from openfall.producers.gateway.requested_name import resolve_name, split_urgency
from openfall.producers.gateway.routes import Endpoint, json_response
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.chain_selection import AUTO
from openfall.router_core.vocabulary import JobKind


async def list_models(exchange: Exchange) -> Response:
    """List every role, task and model."""
    names = exchange.caller.names
    known = entries(exchange.catalog)
    data = [_for_caller(exchange, entry) for entry in known if not names or entry["id"] in names]
    return json_response(page_body(data, has_more=False))


async def get_model(exchange: Exchange) -> Response:
    """Describe one of them."""
    catalog = exchange.catalog
    named = exchange.request.path_params["name"]
    name = resolve_name(catalog, exchange.settings.aliases, split_urgency(named)[0])
    known = {entry["id"]: entry for entry in entries(catalog)}
    return json_response(_for_caller(exchange, known[name if name in known else catalog.find_model(name)]))


def _for_caller(exchange: Exchange, entry: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's API has an object where others list the capabilities as words. Null: they are not known."""
    return {**entry, "capabilities": None} if "anthropic-version" in exchange.request.headers else entry


def entries(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Roles first, then tasks, `auto`, and models."""
    for name, role in catalog.roles.items():
        yield _entry(catalog, name, "role", role.chain)
    for name, task in catalog.tasks.items():
        if name not in catalog.roles:
            yield _entry(catalog, name, "task", task.chain)
    taken = {*catalog.roles, *catalog.tasks}
    if AUTO not in taken | catalog.models.keys() and catalog.models:
        writing = tuple(alias for alias, spec in catalog.models.items() if spec.kind is JobKind.COMPLETION)
        entry = _entry(catalog, AUTO, "auto", writing or tuple(catalog.models))
        if writing and len(writing) < len(catalog.models):
            entry["capabilities"].append("embedding")
        yield entry
    for name in catalog.models:
        if name not in taken:
            yield _entry(catalog, name, "model", (name,))


def _entry(catalog: Catalog, name: str, kind: str, chain: tuple[str, ...]) -> dict[str, Any]:
    """`context_length` is the smallest of the chain: agents compact their history by it, and any of it may answer."""
    specs = [catalog.models[alias] for alias in chain]
    context = min(spec.context for spec in specs)
    answers = [spec.max_tokens for spec in specs if spec.max_tokens is not None]
    able = {
        "completion": all(spec.kind is JobKind.COMPLETION for spec in specs),
        "embedding": all(spec.kind is JobKind.EMBEDDING for spec in specs),
        "tools": all(spec.kind is JobKind.COMPLETION and spec.tools for spec in specs),
        "vision": all(spec.images for spec in specs),
    }
    local = all(map(catalog.is_local, chain))
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": datetime.fromtimestamp(0, UTC).isoformat().replace("+00:00", "Z"),
        "owned_by": "openfall",
        "display_name": name,
        "context_length": context,
        "max_model_len": context,
        "max_input_tokens": context,
        "max_completion_tokens": min(answers) if answers else context,
        "max_tokens": min(answers) if answers else context,
        "capabilities": [word for word, yes in able.items() if yes],
        "lifecycle": "active",
        "openfall": {"kind": kind, "chain": list(chain), "local": local},
    }


ENDPOINTS = (
    Endpoint("GET", "/v1/models", list_models, "List every role, task and model."),
    Endpoint("GET", "/v1/models/{name:path}", get_model, "Describe a role, task or model."),
)
