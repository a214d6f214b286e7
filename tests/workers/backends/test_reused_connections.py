"""An answer is charged for its own bytes, not for those of the answers that used its connection before."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from yarl import URL

from openfall.workers.backends.transport import BoundedHandler, Transport
from tests.workers.backends.openai_calls import run

BODY = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(BODY)
USED_BEFORE = 3600.0
"""An hour: no test takes so long."""


def test_the_time_that_a_connection_has_used_is_not_charged_to_its_next_answer() -> None:
    async def work() -> None:
        head_is_read = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(HEAD)
                    await head_is_read.wait()
                    head_is_read.clear()
                    writer.write(BODY)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        transport = Transport(keep_alive=True)
        try:
            handlers = []
            for _ in range(3):
                response = await transport.send("GET", url, {})
                assert response.connection is not None
                handlers.append(response.connection.protocol)
                assert isinstance(handlers[-1], BoundedHandler)
                assert 0.0 < handlers[-1].parsing_seconds < USED_BEFORE
                head_is_read.set()
                assert await response.read() == BODY
                handlers[-1].parsing_seconds += USED_BEFORE
            assert len(set(map(id, handlers))) == 1
        finally:
            await transport.close()
            server.close()

    run(work())
