"""A reverse proxy that serves a gateway below a path, beside other programs of the same host."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ROOT = "/tools/openfall"
_OF_A_CONNECTION = ("connection", "transfer-encoding", "keep-alive")


@contextmanager
def path_proxy(gateway_url: str, *, removes_path: bool, names_client: bool = True) -> Iterator[str]:
    """Serve a gateway at `ROOT`; any other path is a 404. `removes_path`: the gateway gets requests without it, as
    by `proxy_pass http://gateway/` of nginx. `names_client`: with the headers of a proxy. The address has no path."""
    gateway, added = urlsplit(gateway_url).netloc, {"X-Forwarded-For": "192.0.2.7"} if names_client else {}

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            if not f"{self.path}/".startswith(f"{ROOT}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = (self.path.removeprefix(ROOT) or "/") if removes_path else self.path
            upstream = http.client.HTTPConnection(gateway, timeout=60)
            try:
                upstream.request(self.command, path, body, {**dict(self.headers), **added})
                response = upstream.getresponse()
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in _OF_A_CONNECTION:
                        self.send_header(name, value)
                self.send_header("connection", "close")
                self.end_headers()
                while part := response.read1(65536):
                    self.wfile.write(part)
            except ConnectionError:
                pass  # a reader of a stream has left
            finally:
                upstream.close()

        do_GET = do_POST = do_DELETE = _forward  # noqa: N815 - the names of http.server

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
