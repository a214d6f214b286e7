"""rq-dashboard at `/rq`, behind the sign-in of the page: no GET acts, and only a requeue may."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.operations.operator import Operator
from openfall.producers.page.people import HEADERS, for_people, html_page
from openfall.producers.page.rq_dashboard_app import PREFIX, answer_request, build_dashboard
from openfall.producers.page.visitor import Visitor, check_origin, check_right
from openfall.router_core.catalog.redis_server import RedisServer

if TYPE_CHECKING:
    import redis
    from flask import Flask

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The dashboard has scripts in its pages. Texts from Redis are escaped before they reach them."""
RQ_HEADERS = {**HEADERS, "content-security-policy": CONTENT_SECURITY_POLICY}
_ACTING = re.compile(r"/(?:requeue|empty|delete|compact)(?:/|$)")
_REQUEUE = re.compile(r"/job/([^/]+)/requeue")

_apps: dict[int, Flask] = {}


async def _show_dashboard(exchange: Exchange, visitor: Visitor) -> Response:
    """A page of rq-dashboard."""
    path = _path(exchange)
    if _ACTING.search(path):
        raise Refusal("wrong_method", "no GET acts: press the button of a job on its page")
    try:
        app = _dashboard(exchange)
    except ImportError:
        return html_page(
            exchange, visitor, "message.html", title="rq-dashboard is not installed",
            lines=["It shows the queues and jobs of the fleet as rq has them.", "pip install 'openfall[rq]'"],
        )  # fmt: skip
    return await _answer(app, "GET", path, exchange.request.url.query)


async def _requeue_job(exchange: Exchange, visitor: Visitor) -> Response:
    """Requeue a failed job, as rq does. Nothing else of rq-dashboard acts here."""
    check_origin(exchange)
    check_right(exchange, visitor)
    path = _path(exchange)
    requeue = _REQUEUE.fullmatch(path)
    if requeue is None:
        raise Refusal("not_allowed", "here rq-dashboard only requeues single jobs: use the page, or openfall held")
    answer = await _answer(_dashboard(exchange), "POST", path, "")
    await Operator(exchange.gateway.client, visitor.name, "page").note(
        "rq.requeue", requeue[1], str(answer.status_code)
    )
    return answer


def _path(exchange: Exchange) -> str:
    """The path below `/rq`. The dashboard tells paths apart by their last slash, which the gateway takes off."""
    path = exchange.path.path.removeprefix(PREFIX) or "/"
    return path if path == "/" or not path.strip("/").isdecimal() else f"{path}/"


def _dashboard(exchange: Exchange) -> Flask:
    """The dashboard of this process of the gateway. Raises `ImportError`, `Refusal`."""
    link = exchange.gateway.client.store.connection
    if id(link) not in _apps:
        _apps.clear()
        _apps[id(link)] = build_dashboard(_connect(link.server))
    return _apps[id(link)]


def _connect(server: RedisServer) -> redis.Redis:
    """A connection of its own for the dashboard, which blocks. Raises `Refusal`."""
    import redis

    if server.url is None:
        raise Refusal("not_allowed", "rq-dashboard is shown for a Redis with a `url` only: run it on its own")
    options = {
        "username": server.username,
        "password": None if server.password is None else server.password.get_secret_value(),
        "db": server.database,
    }
    if urlsplit(server.url).scheme == "rediss":
        options |= {
            "ssl_ca_certs": server.tls_ca,
            "ssl_certfile": server.tls_certificate,
            "ssl_keyfile": server.tls_key,
            "ssl_check_hostname": server.tls_check_hostname,
        }
    return redis.Redis.from_url(server.url, **{name: value for name, value in options.items() if value is not None})


async def _answer(app: Flask, method: str, path: str, query: str) -> Response:
    answer = await asyncio.to_thread(answer_request, app, method, path, query)
    headers = {**RQ_HEADERS, **({"location": answer.location} if answer.location else {})}
    return Response(answer.body, answer.status, headers, media_type=answer.content_type)


_HTML = "text/html"
_show, _act = for_people(_show_dashboard), for_people(_requeue_job)
ENDPOINTS = (
    Endpoint("GET", PREFIX, _show, "rq-dashboard, if it is installed.", public=True, media_type=_HTML),
    Endpoint("GET", PREFIX + "/{path:path}", _show, "A page of rq-dashboard.", public=True, media_type=_HTML),
    Endpoint("POST", PREFIX + "/{path:path}", _act, "Requeue a job, as rq does.", public=True, other_type=_HTML),
)
