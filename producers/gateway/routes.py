"""What the table of routes is made of: the endpoints of every API. Errors, OpenAPI and access rights follow from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic_core import to_json
from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange

Schema = Mapping[str, Any]
Handler = Callable[[Exchange], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path in the form of Starlette (`/v1/jobs/{id}`). `public`: it needs no key.

    `body`: the JSON Schema of the fields that a caller must or usually does send; None: it has no body. `limited`: it
    counts for the limits of a key. `streams`: it may answer with events, as each does whose body has `stream`.
    `form`: the JSON Schema of a body of multipart/form-data. `query`: the JSON Schemas of what may stand in the query.
    `submits`: it submits a job, so that the headers of jobs count. `media_type` is that of its answer, `other_type`
    that of its answer to another kind of program.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    public: bool = False
    body: Mapping[str, Any] | None = None
    streams: bool = False
    stream_type: str = "text/event-stream"
    form: Mapping[str, Any] | None = None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    submits: bool = False
    media_type: str = "application/json"
    other_type: str = ""

    @property
    def may_stream(self) -> bool:
        return self.streams or "stream" in (self.body or {}).get("properties", {})

    @property
    def limited(self) -> bool:
        return self.body is not None or self.form is not None


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    try:
        packed = orjson.dumps(body)
    except TypeError:  # an integer above 64 bits, as the arguments of a tool call may have
        packed = to_json(body)
    return Response(packed, status, dict(headers or {}), "application/json")


def body_of(*required: str, **fields: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema of an object with these fields; others are passed on."""
    return {"type": "object", "properties": dict(fields), "required": list(required)}


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 1}
PAGE: Mapping[str, Schema] = {"limit": COUNT, "after": TEXT}
"""The query of a list in OpenAI's form."""
MESSAGES: Schema = {"type": "array", "items": {"type": "object"}, "minItems": 1}
