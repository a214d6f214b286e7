"""`/openapi.json` and `/docs`, from the one table of routes."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from openfall.producers.gateway.api_document import api_document
from openfall.producers.gateway.api_page import CONTENT_SECURITY_POLICY, api_page
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.routes import Endpoint


def endpoints_with(others: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Every endpoint, and the two that describe them."""

    async def describe(_exchange: Exchange) -> Response:
        """Describe every path in OpenAPI 3.1."""
        return json_response(api_document(endpoints))

    async def show(_exchange: Exchange) -> Response:
        """Show every path to a person."""
        headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "x-content-type-options": "nosniff"}
        return Response(api_page(api_document(endpoints)), headers=headers, media_type="text/html")

    endpoints = (
        *others,
        Endpoint("GET", "/openapi.json", describe, "Describe every path in OpenAPI 3.1.", public=True),
        Endpoint("GET", "/docs", show, "Show every path to a person.", public=True, media_type="text/html"),
    )
    return endpoints
