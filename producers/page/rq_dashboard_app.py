"""rq-dashboard as a function from a request to a response, bound by our rules: JSON in place of pickle, no deletion, no
text from Redis as markup. Optional: the extra `rq` installs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    import redis
    from flask import Flask, Response

PREFIX = "/rq"
POLL_MILLISECONDS = 5000
_BRAND = b'<a class="navbar-brand">RQ-dashboard</a>'
_REQUEUE = "rq_dashboard.requeue_job_view"
_BACK = '<a class="navbar-brand" href="{}/">&larr; openfall</a>'


@dataclass(frozen=True, slots=True)
class DashboardAnswer:
    """What the dashboard answers."""

    status: int
    content_type: str
    body: bytes
    location: str = ""


def build_dashboard(connection: redis.Redis) -> Flask:
    """The dashboard over a connection. Raises `ImportError` if it is not installed."""
    from flask import Flask, jsonify
    from rq.exceptions import NoSuchJobError
    from rq.job import Job
    from rq.serializers import JSONSerializer
    from rq_dashboard import web  # type: ignore[import-untyped]

    web.config.serializer = JSONSerializer
    web.from_url = lambda *_args, **_options: (None, connection)  # our connection, whatever the address
    app = Flask("rq_dashboard")
    app.config.update(
        RQ_DASHBOARD_REDIS_URL="redis://openfall",  # a name: the address of the fleet may have a password
        RQ_DASHBOARD_POLL_INTERVAL=POLL_MILLISECONDS,
        RQ_DASHBOARD_DISABLE_DELETE=True,
    )
    web.setup_rq_connection(app)
    app.register_blueprint(web.blueprint)

    def requeue(job_id: str) -> Response:
        Job.fetch(job_id, connection=connection, serializer=JSONSerializer).requeue()
        answer: Response = jsonify(status="OK")
        return answer

    app.view_functions[_REQUEUE] = requeue
    app.before_request(_refuse_acting)
    app.register_error_handler(Exception, _refuse_address)
    app.register_error_handler(NoSuchJobError, lambda _error: ("rq keeps no job of this id any more.", 404))
    app.after_request(_in_step)
    return app


def _refuse_acting() -> None:
    """Of the routes that act only the requeue of a job is open, whatever spelling of an address led there."""
    from flask import abort, request

    rule = request.url_rule
    if rule is not None and rule.endpoint != _REQUEUE and "POST" in (rule.methods or ()):
        abort(405)


def _refuse_address(error: Exception) -> Any:
    """The dashboard does not check numbers of an address: an instance, a page, a length."""
    import redis
    from werkzeug.exceptions import HTTPException

    if isinstance(error, HTTPException):
        return error
    if isinstance(error, redis.RedisError):
        return "Redis does not answer.", 503
    return "rq-dashboard has no such page: an instance, a page or a length in this address is none.", 404


def _in_step(response: Response) -> Response:
    """A page leads back to ours. Texts from Redis are escaped: the scripts of the dashboard insert them as markup."""
    from flask import request

    if response.direct_passthrough:
        return response
    if response.mimetype == "text/html":
        root_path = request.script_root.removesuffix(PREFIX)
        response.set_data(response.get_data().replace(_BRAND, _BACK.format(root_path).encode()))
    elif response.mimetype == "application/json":
        response.set_data(json.dumps(_escaped(json.loads(response.get_data()))))
    return response


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {escape(str(name)): _escaped(each) for name, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


def answer_request(app: Flask, method: str, path: str, query: str, root_path: str = "") -> DashboardAnswer:
    """Let the dashboard answer a request to a path below `/rq`. `root_path` stands before that in its links."""
    from werkzeug.test import Client

    address = quote(path or "/")  # it is decoded once already: a second time would make another path of it
    base_url = f"http://localhost{root_path}{PREFIX}"
    with Client(app).open(address, base_url=base_url, method=method, query_string=query) as response:
        headers, body = response.headers, response.get_data()
    target = urlsplit(headers.get("location", ""))
    location = target.path + (f"?{target.query}" if target.query else "")
    return DashboardAnswer(response.status_code, headers.get("content-type", ""), body, location)
