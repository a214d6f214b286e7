"""The table of routes: which endpoint serves a request."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from openfall.config.gateway_settings import DEFAULT_ADDRESS
from openfall.producers.gateway.base_url_hints import unknown_path, wrong_method
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.request_path import RequestPath
from openfall.producers.gateway.routes import Endpoint


class RouteTable:
    """Endpoints by method and path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        every = tuple(endpoints)
        self._plain = {(each.method, each.path): each for each in every if "{" not in each.path}
        """The endpoints whose path is one text."""
        self._routes = [(Route(each.path, _unused, methods=[each.method]), each) for each in every]

    def find(self, request: Request, path: RequestPath, root_path: str = "") -> Endpoint:
        """The endpoint of a request, whose path parameters it gets. Raises `Refusal`."""
        if (plain := self._plain.get((request.method, path.path))) is not None:
            request.scope["path_params"] = {}
            return plain
        other_methods: set[str] = set()
        address = (request.headers.get("host") or DEFAULT_ADDRESS) + root_path
        for route, endpoint in self._routes:
            match, matched = route.matches(request.scope)
            if match is Match.FULL or (
                match is Match.PARTIAL and request.method == "HEAD" and endpoint.method == "GET"
            ):
                request.scope["path_params"] = matched["path_params"]
                return endpoint
            if match is Match.PARTIAL:
                other_methods.add(endpoint.method)
        if other_methods:
            message = wrong_method(request.method, path.path, address, other_methods)
            raise Refusal("wrong_method", message, extra={"allow": ", ".join(sorted(other_methods))})
        raise Refusal("unknown_url", unknown_path(request.method, path.path, address))


async def _unused(request: Request) -> Response:
    """The routes only match: the application calls the endpoint itself."""
    raise NotImplementedError(request.url.path)
