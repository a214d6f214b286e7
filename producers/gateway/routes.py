"""The one table of routes, made of the endpoints of every API. Errors, OpenAPI and access rights follow from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange

Handler = Callable[[Exchange], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path in the form of Starlette (`/v1/jobs/{id}`). `public`: it needs no key."""

    method: str
    path: str
    handler: Handler
    summary: str
    public: bool = False
