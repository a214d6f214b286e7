"""Schemas of callers: their draft, their faults, and that none of their addresses is called."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from openfall.workers.execution.json_schema import schema_error


@pytest.fixture
def schema_server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server with a schema, and the paths that were fetched."""
    fetched: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "string"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/secret", fetched
        server.shutdown()
        thread.join()


def test_a_schema_that_names_an_address_does_not_make_the_worker_call_it(schema_server: tuple[str, list[str]]) -> None:
    url, fetched = schema_server
    assert schema_error({"$ref": url}, "a") == "the schema refers to something that is not in it"
    assert schema_error({"$schema": url, "type": "string"}, "a") is None
    assert fetched == []


def test_the_draft_that_a_schema_names_decides() -> None:
    pair = {"items": [{"type": "string"}, {"type": "integer"}]}
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert schema_error(draft_7, ["a", 1]) is None
    assert schema_error(draft_7, ["a", "b"]) == "type fails at /1"
    assert schema_error(pair, ["a", 1]) == "the schema itself is not valid at /items"
