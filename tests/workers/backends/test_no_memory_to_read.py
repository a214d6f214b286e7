"""A worker that has no memory to read a response does not blame the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import client_proto, web

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.base_url import parse_address
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.transport import Transport

Handler = Callable[[web.Request], Any]


def parser_without_memory(reads: int, parser: Any) -> Any:
    """aiohttp's parser of responses, which after some reads finds no memory."""

    class Parser:
        def __init__(self, *args: Any, **options: Any) -> None:
            self._parser, self._left = parser(*args, **options), reads

        def feed_data(self, data: bytes) -> Any:
            self._left -= 1
            if self._left < 0:
                raise MemoryError
            return self._parser.feed_data(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._parser, name)

    return Parser


def in_two_parts(status: int, **headers: str) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"content-type": "application/json", **headers})
        await response.prepare(request)
        await response.write(b'{"error": ')
        await asyncio.sleep(0.05)
        await response.write(b'"a text"}')
        return response

    return respond


async def fetch(handler: Handler) -> Any:
    app = web.Application()
    app.router.add_get("/v1/models", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = HttpClient(parse_address(url), {}, Transport(keep_alive=True))
    try:
        return await client.fetch_json("/v1/models", 10)
    finally:
        await client.close()
        await runner.cleanup()


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize(
    "handler", [in_two_parts(200), in_two_parts(200, **{"content-length": "19"}), in_two_parts(503)]
)
def test_a_response_for_which_there_is_no_memory_is_no_failure_of_its_server(
    handler: Handler, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = parser_without_memory(reads, client_proto.HttpResponseParser)
    monkeypatch.setattr(client_proto, "HttpResponseParser", lacking)
    failure = asyncio.run(fetch(handler))
    assert isinstance(failure, Failure)
    assert (failure.error_class, failure.detail) == (ErrorClass.WORKER_LIMIT, "out of memory")
