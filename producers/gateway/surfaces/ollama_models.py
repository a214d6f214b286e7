"""Ollama's lists of models: every role, task and model as `NAME:latest`. What programs check at their start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from starlette.responses import Response

from openfall.producers.client_store import try_redis
from openfall.producers.gateway.encoders.ollama_chat import NDJSON, line
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.model_memory import first_model, requested_name
from openfall.producers.gateway.routes import FLAG, TEXT, Endpoint, body_of, json_response
from openfall.producers.gateway.surfaces.models import entries
from openfall.router_core.catalog.capabilities import Thinking
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.model_status import fetch_model_status
from openfall.router_core.vocabulary import JobKind, LoadState

VERSION = "0.12.6"
"""Of the Ollama whose API this is. Programs refuse an older one, and what has a suffix."""
ARCHITECTURE = "llama"
"""Programs look for the context of a model under the name of its architecture."""
_GB = 10**9
_IN_MEMORY = (LoadState.READY, LoadState.IN_USE)
_MODIFIED = "2026-01-01T00:00:00Z"
KEPT_FOR = timedelta(minutes=5)


async def tags(exchange: Exchange) -> Response:
    """List every role, task and model."""
    return json_response({"models": [_listed(name, spec) for name, spec in _visible(exchange)]})


async def ps(exchange: Exchange) -> Response:
    """List the models in memory on machines of the owner. None, while Redis is away."""
    catalog = exchange.catalog
    rows = await try_redis(fetch_model_status(exchange.link, catalog)) or []
    present = {
        row.model
        for row in rows
        if catalog.is_local(row.model) and any(at.load_state in _IN_MEMORY for at in row.backends)
    }
    until = (datetime.now(UTC) + KEPT_FOR).isoformat().replace("+00:00", "Z")
    models = []
    for name, spec in _visible(exchange):
        if name in present:
            listed = _listed(name, spec)
            del listed["modified_at"]
            more = {"expires_at": until, "size_vram": listed["size"], "context_length": spec.context}
            models.append({**listed, **more})
    return json_response({"models": models})


async def show(exchange: Exchange) -> Response:
    """Describe a role, a task or a model."""
    body = await exchange.body()
    name, catalog = requested_name(exchange, body, "model", "name"), exchange.catalog
    known = {entry["id"]: entry for entry in entries(catalog)}
    entry, spec = known.get(name), catalog.models[first_model(catalog, name)]
    info = {
        "general.architecture": ARCHITECTURE,
        "general.basename": name,
        f"{ARCHITECTURE}.context_length": spec.context if entry is None else entry["context_length"],
    }
    about = {"details": _details(spec), "model_info": info, "capabilities": _capabilities(spec, entry)}
    texts = {"license": "", "modelfile": "", "parameters": "", "template": "{{ .Prompt }}"}
    return json_response({**texts, **about, "modified_at": _MODIFIED})


async def version(_exchange: Exchange) -> Response:
    """Report the version of the API."""
    return json_response({"version": VERSION})


async def pull(exchange: Exchange) -> Response:
    """Report that a known model is there. Nothing is downloaded."""
    body = await exchange.body()
    requested_name(exchange, body, "model", "name")
    if body.get("stream") is False:
        return json_response({"status": "success"})
    steps = ("pulling manifest", "verifying sha256 digest", "success")
    return Response(b"".join(line({"status": step}) for step in steps), media_type=NDJSON)


async def refuse(_exchange: Exchange) -> Response:
    """Refuse to change the models: the configuration names them."""
    raise Refusal("not_allowed", "the models of openfall are those of its configuration: see `openfall config show`")


def _visible(exchange: Exchange) -> Iterator[tuple[str, ModelSpec]]:
    """The names that a caller may ask for, each with its first model."""
    catalog, names = exchange.catalog, exchange.caller.names
    for entry in entries(catalog):
        if not names or entry["id"] in names:
            yield entry["id"], catalog.models[entry["openfall"]["chain"][0]]


def _listed(name: str, spec: ModelSpec) -> dict[str, Any]:
    tagged = name if ":" in name else f"{name}:latest"
    return {
        "name": tagged,
        "model": tagged,
        "modified_at": _MODIFIED,
        "size": round((spec.vram_gb or 1) * _GB),
        "digest": sha256(name.encode()).hexdigest(),
        "details": _details(spec),
    }


def _details(spec: ModelSpec) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": ARCHITECTURE,
        "families": [ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": spec.quantization or "",
    }


def _capabilities(spec: ModelSpec, entry: dict[str, Any] | None) -> list[str]:
    """In Ollama's words. A role has those of every model of its chain."""
    if spec.kind is JobKind.EMBEDDING:
        return ["embedding"]
    words = entry["capabilities"] if entry is not None else ["completion", *(["tools"] if spec.tools else [])]
    thinks = spec.capabilities.thinking not in (None, Thinking.NONE)
    return [*words, *(["thinking"] if thinks else [])]


_NAMED = body_of("model", model=TEXT, stream=FLAG)
_CHANGES = (
    ("POST", "/api/create"), ("POST", "/api/copy"), ("DELETE", "/api/delete"), ("POST", "/api/push"),
    ("POST", "/api/blobs/{digest}"),
)  # fmt: skip
ENDPOINTS = (
    Endpoint("GET", "/api/version", version, "Report the version of Ollama's API.", public=True),
    Endpoint("GET", "/api/tags", tags, "List every role, task and model."),
    Endpoint("GET", "/api/ps", ps, "List the models in memory."),
    Endpoint("POST", "/api/show", show, "Describe a role, a task or a model.", body=body_of("model", model=TEXT)),
    Endpoint("POST", "/api/pull", pull, "Report that a model is there.", body=_NAMED, stream_type=NDJSON),
    *(Endpoint(method, path, refuse, "Refused: the configuration names the models.") for method, path in _CHANGES),
)
