"""`/openapi.json` and `/docs`, from the one table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from openfall.config.gateway_settings import PassthroughSection
from openfall.producers.gateway.api_document import api_document
from openfall.producers.gateway.api_page import CONTENT_SECURITY_POLICY, api_page
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint, json_response
from openfall.producers.gateway.surfaces.passthrough import endpoints_of


def endpoints_with(others: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Every endpoint, and the two that describe them and the paths that the configuration passes through."""

    # Once for each configuration: they take 6 ms and need no key, so callers could hold the event loop with them.
    @lru_cache(1)
    def document(passed: PassthroughSection | None, root_path: str) -> bytes:
        return bytes(json_response(described(passed, root_path)).body)

    @lru_cache(1)
    def page(passed: PassthroughSection | None, root_path: str) -> str:
        return api_page(described(passed, root_path))

    def described(passed: PassthroughSection | None, root_path: str) -> dict[str, Any]:
        return api_document((*endpoints, *endpoints_of(passed, endpoints)), root_path)

    async def describe(exchange: Exchange) -> Response:
        """Describe every path in OpenAPI 3.1."""
        return Response(
            document(exchange.settings.passthrough, exchange.settings.root_path), media_type="application/json"
        )

    async def show(exchange: Exchange) -> Response:
        """Show every path to a person."""
        headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "x-content-type-options": "nosniff"}
        text = page(exchange.settings.passthrough, exchange.settings.root_path)
        return Response(text, headers=headers, media_type="text/html")

    endpoints = (
        *others,
        Endpoint("GET", "/openapi.json", describe, "Describe every path in OpenAPI 3.1.", public=True),
        Endpoint("GET", "/docs", show, "Show every path to a person.", public=True, media_type="text/html"),
    )
    return endpoints
