"""`/openapi.json`, from the one table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.routes import Endpoint

_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")


def endpoints_with(others: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Every endpoint, and the one that describes them."""
    known = tuple(others)

    async def describe(_exchange: Exchange) -> Response:
        """Describe every path."""
        return json_response(document((*known, own)))

    own = Endpoint("GET", "/openapi.json", describe, "Describe every path.")
    return (*known, own)


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of a table of routes."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    keys = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "openfall", "version": version("openfall")},
        "paths": paths,
        "components": {"securitySchemes": keys, "schemas": {"Error": _ERROR}},
    }


_ERROR = {
    "type": "object",
    "properties": {"error": {}},
    "required": ["error"],
    "description": "In the form of the API: see docs/errors.md.",
}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    kinds: dict[str, Any] = {"application/json": {}} | ({endpoint.stream_type: {}} if endpoint.may_stream else {})
    answer = {"description": "The answer, in the form of the API.", "content": kinds}
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()} {endpoint.path}".replace("/", "_"),
        "responses": {
            "200": answer,
            "default": {"description": "An error.", "content": {"application/json": error}},
        },
        "security": [] if endpoint.public else [{"bearer": []}, {}],
    }
    names = [match[0] for match in _PARAMETER.findall(endpoint.path)]
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    bodies = {"application/json": endpoint.body, "multipart/form-data": endpoint.form}
    if content := {kind: {"schema": schema} for kind, schema in bodies.items() if schema is not None}:
        operation["requestBody"] = {"required": True, "content": content}
    return operation
