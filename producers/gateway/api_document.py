"""The OpenAPI document of a table of routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from openfall.producers.gateway.error_table import TABLE
from openfall.producers.gateway.job_headers import JOB_HEADERS, WORD, Schema
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.gateway.surface import Surface, surface_of

_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")
_PAGE = "/page/"

_ANSWER_HEADERS = {
    "x-request-id": {"description": "The request, in the log of the gateway.", "schema": {"type": "string"}},
    "idempotency-replayed": {
        "description": "`true`: an earlier request with this `Idempotency-Key` has submitted the job.",
        "schema": {"type": "string"},
    },
    "x-openfall-job": {"description": "The job of the request.", "schema": {"type": "string"}},
}
_OPEN = ("bad_request", "unknown_url", "wrong_method", "other")
_GUARDED = ("no_key", "not_allowed", "store")
_BY_BODY = ("too_large", "rate_limit")


def api_document(endpoints: Iterable[Endpoint], root_path: str = "") -> dict[str, Any]:
    """The OpenAPI document of these endpoints. `root_path` stands before each path."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if endpoint.path.startswith(_PAGE):
            continue  # it answers a person
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    headers = {
        name: {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in JOB_HEADERS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "openfall", "version": version("openfall"), "description": _DESCRIPTION},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "parameters": headers,
            "headers": _ANSWER_HEADERS,
            "schemas": ERROR_FORMS,
        },
    }


_DESCRIPTION = (
    "Every request is a job: it survives its client, the gateway, its worker and its provider. `/v1` may be missing. "
    "`/for/GROUP` and `/in/URGENCY` may stand before each path."
)


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    words = re.findall(r"\w+", _PARAMETER.sub(r"\1", endpoint.path)) or ["root"]
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": "_".join([endpoint.method.lower(), *words]),
        "tags": [endpoint.path.split("/")[2] if endpoint.path.startswith("/v1/") else words[0]],
        "parameters": list(_parameters(endpoint)),
        "responses": {"200": _answer(endpoint), **_errors(endpoint)},
        "security": [] if endpoint.public else [{"bearer": []}, {"key": []}, {}],
    }
    bodies = {"application/json": endpoint.body, "multipart/form-data": endpoint.form}
    content = {kind: {"schema": schema} for kind, schema in bodies.items() if schema is not None}
    has_body = content and endpoint.method != "GET"  # one that is passed through takes both methods
    return operation | ({"requestBody": {"required": True, "content": content}} if has_body else {})


def _parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, _ in _PARAMETER.findall(endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": WORD}
    for name, schema in endpoint.query.items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}
    if endpoint.submits:
        yield from ({"$ref": f"#/components/parameters/{name}"} for name in JOB_HEADERS)


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    schema = {"type": "object"} if endpoint.media_type == "application/json" else {"type": "string"}
    kinds: dict[str, Any] = {endpoint.media_type: {"schema": schema}}
    if endpoint.other_type:
        kinds[endpoint.other_type] = {"schema": {"type": "string"}}
    if endpoint.may_stream:
        kinds[endpoint.stream_type] = {"schema": {"type": "string"}}
    named = tuple(_ANSWER_HEADERS) if endpoint.submits else ("x-request-id",)
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in named}
    return {"description": "The answer, in the form of the API.", "headers": headers, "content": kinds}


def _errors(endpoint: Endpoint) -> dict[str, Any]:
    """The errors of an endpoint by their status, and the form that any other has."""
    surface = surface_of(endpoint.path)
    causes: Iterable[str] = TABLE
    if not endpoint.submits:
        causes = [*_OPEN, *(() if endpoint.public else _GUARDED), *(_BY_BODY if endpoint.limited else ())]
        causes = [*causes, "not_found"] if "{" in endpoint.path else causes
    codes: dict[int, dict[str, None]] = {}
    for cause in causes:
        row = TABLE[cause]
        status = (row.anthropic_status or row.status) if surface is Surface.ANTHROPIC else row.status
        codes.setdefault(status, {})[row.anthropic if surface is Surface.ANTHROPIC else row.code] = None
    form = _FORMS.get(surface, "Error")
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
    other_types = {endpoint.media_type, endpoint.other_type} - {"application/json", ""}
    if endpoint.public and other_types:  # what people open shows its errors as a page
        content["text/html"] = {"schema": {"type": "string"}}
    named = {
        str(status): {"description": ", ".join(names), "content": content} for status, names in sorted(codes.items())
    }
    return {**named, "default": {"description": "Any other error.", "content": content}}


_FORMS = {Surface.ANTHROPIC: "AnthropicError", Surface.ECHO: "EchoError", Surface.OLLAMA: "OllamaError"}


def _object(**properties: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Schema = {"type": "string"}
_MAYBE: Schema = {"type": ["string", "null"]}
ERROR_FORMS: Mapping[str, Any] = {
    "Error": _object(error=_object(message=_TEXT, type=_TEXT, param=_MAYBE, code=_MAYBE)),
    "AnthropicError": _object(type={"const": "error"}, error=_object(type=_TEXT, message=_TEXT), request_id=_TEXT),
    "EchoError": _object(success={"const": False}, error=_TEXT, code=_TEXT),
    "OllamaError": _object(error=_TEXT),
}
