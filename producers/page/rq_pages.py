"""rq-dashboard at `/rq`, behind the sign-in of the page: no GET acts, and only a requeue may."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from starlette.responses import Response

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.operations.operator import Operator
from openfall.producers.page.page_access import Visitor, check_origin, check_right
from openfall.producers.page.page_handler import HEADERS, for_people, html_page
from openfall.producers.page.rq_dashboard_app import PREFIX, answer_request, build_dashboard
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
BAD_REQUEST = 400
SENTINEL_SECONDS = 1.0
_ACTING = re.compile(r"/(?:requeue|empty|delete|compact)(?:/|$)")
_REQUEUE = re.compile(r"/job/([^/]+)/requeue")

_apps: dict[int, Flask] = {}


async def _show_dashboard(exchange: Exchange, visitor: Visitor) -> Response:
    """A page of rq-dashboard."""
    path = _path(exchange)
    if _ACTING.search(path):
        raise Refusal("wrong_method", "no GET acts: press the button of a job on its page")
    try:
        return await _answer(exchange, visitor, "GET", path)
    except ImportError:
        return html_page(
            exchange, visitor, "message.html", title="rq-dashboard is not installed",
            lines=["It shows the queues and jobs of the fleet as rq has them.", "pip install 'openfall[rq]'"],
        )  # fmt: skip


async def _requeue_job(exchange: Exchange, visitor: Visitor) -> Response:
    """Requeue a failed job, as rq does. Nothing else of rq-dashboard acts here."""
    check_origin(exchange)
    check_right(exchange, visitor)
    path = _path(exchange)
    requeue = _REQUEUE.fullmatch(path)
    if requeue is None:
        raise Refusal("not_allowed", "here rq-dashboard only requeues single jobs: use the page, or openfall held")
    answer = await _answer(exchange, visitor, "POST", path)
    await Operator(exchange.client, visitor.name, "page").note("rq.requeue", requeue[1], str(answer.status_code))
    return answer


def _path(exchange: Exchange) -> str:
    """The path below `/rq`. The dashboard tells paths apart by their last slash, which the gateway takes off."""
    path = exchange.path.path.removeprefix(PREFIX) or "/"
    return path if path == "/" or not path.strip("/").isdecimal() else f"{path}/"


def _dashboard(exchange: Exchange) -> Flask:
    """The dashboard of this process of the gateway. Raises `ImportError`."""
    link = exchange.link
    if id(link) not in _apps:
        _apps.clear()
        _apps[id(link)] = build_dashboard(connect_dashboard(link.server))
    return _apps[id(link)]


def connect_dashboard(server: RedisServer) -> redis.Redis:
    """A connection of its own for the dashboard: to the address, or to the primary that Sentinels name."""
    import redis
    from redis.sentinel import Sentinel

    options = _login(server.username, server.password) | {"db": server.database or 0}
    if server.url is not None:
        if server.database is None:
            del options["db"]  # that of the address
        options |= _tls(server) if server.url.startswith("rediss:") else {}
        return redis.Redis.from_url(server.url, **options)
    transport = {"ssl": True, **_tls(server)} if server.tls else {}
    hosts = [(name.rpartition(":")[0].strip("[]"), int(name.rpartition(":")[2])) for name in server.sentinels]
    of_sentinels = _login(server.sentinel_username, server.sentinel_password) | transport
    of_sentinels["socket_timeout"] = SENTINEL_SECONDS
    sentinels = Sentinel(hosts, sentinel_kwargs=of_sentinels, **transport, **options)  # type: ignore[no-untyped-call]
    primary: redis.Redis = sentinels.master_for(server.service or "")  # type: ignore[no-untyped-call]
    return primary


def _login(username: str | None, password: SecretStr | None) -> dict[str, Any]:
    secret = None if password is None else password.get_secret_value()
    return {name: value for name, value in (("username", username), ("password", secret)) if value is not None}


def _tls(server: RedisServer) -> dict[str, Any]:
    values = {
        "ssl_ca_certs": server.tls_ca,
        "ssl_certfile": server.tls_certificate,
        "ssl_keyfile": server.tls_key,
        "ssl_check_hostname": server.tls_check_hostname,
    }
    return {name: value for name, value in values.items() if value is not None}


async def _answer(exchange: Exchange, visitor: Visitor, method: str, path: str) -> Response:
    query = exchange.request.url.query if method == "GET" else ""
    app = _dashboard(exchange)
    answer = await asyncio.to_thread(answer_request, app, method, path, query, exchange.settings.root_path)
    if answer.status >= BAD_REQUEST and answer.content_type.startswith("text/html"):
        text = answer.body.decode("utf-8", "replace")
        lines = ["rq-dashboard does not have this page." if "<" in text else text]
        return html_page(exchange, visitor, "message.html", answer.status, title="That is not possible", lines=lines)
    headers = {**RQ_HEADERS, **({"location": answer.location} if answer.location else {})}
    return Response(answer.body, answer.status, headers, media_type=answer.content_type)


_HTML = "text/html"
_show, _act = for_people(_show_dashboard), for_people(_requeue_job)
ENDPOINTS = (
    Endpoint("GET", PREFIX, _show, "rq-dashboard, if it is installed.", public=True, media_type=_HTML),
    Endpoint("GET", PREFIX + "/{path:path}", _show, "A page of rq-dashboard.", public=True, media_type=_HTML),
    Endpoint("POST", PREFIX + "/{path:path}", _act, "Requeue a job, as rq does.", public=True, other_type=_HTML),
)
