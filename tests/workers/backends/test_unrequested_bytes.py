"""Bytes that no request asked for never become the answer to the next one, and a broken chunk is no internal error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from tests.workers.backends.openai_calls import run

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def response(text: bytes) -> bytes:
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % text
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Turns:
    """The order of a story: once the client has its answer, the server sends further pieces, and the client waits for
    them."""

    def __init__(self) -> None:
        self._answered, self._sent = asyncio.Event(), asyncio.Event()

    async def wait_for_answer(self) -> None:
        await self._answered.wait()
        self._answered.clear()

    def end(self) -> None:
        self._sent.set()

    async def wait_for_pieces(self) -> None:
        self._answered.set()
        async with asyncio.timeout(30):  # a server that was not asked sends nothing
            await self._sent.wait()
        self._sent.clear()
        await turn_loop()


async def turn_loop() -> None:
    """Let the loop read what is in the sockets."""
    for _ in range(5):
        await asyncio.sleep(0)


async def ask(serve: Serve, questions: list[str], turns: Turns | None = None) -> list[Completion | Failure]:
    """The outcomes of calls one after another, over connections that are used again."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    backend = open_backend(Backend(url=url, pool="cloud", reuse_connections=True))
    try:
        outcomes = []
        for question in questions:
            body = {"messages": [{"role": "user", "content": question}]}
            outcomes.append(await backend.complete(Request(body=body, upstream="m", timeout=20.0)))
            if turns is not None:
                await turns.wait_for_pieces()
        return outcomes
    finally:
        await backend.close()
        server.close()


async def answer_twice(
    pieces: list[bytes], turns: Turns, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer each request with its own question, and then send these pieces, each in a packet."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            question = b"first" if b"first" in body else b"second"
            first, *rest = pieces
            writer.write(response(question) + first)
            await turns.wait_for_answer()
            for piece in rest:
                writer.write(piece)
                await turn_loop()
            turns.end()
    writer.close()


OTHER = response(b"of another request")
UNREQUESTED = {
    "in the same packet": [OTHER],
    "in the next packet": [b"", OTHER],
    "in two packets": [OTHER[:40], OTHER[40:]],
    "an interim response": [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OTHER],
    "no HTTP": [b"", b"\0" * 100],
}


@pytest.mark.parametrize("pieces", UNREQUESTED.values(), ids=UNREQUESTED.keys())
def test_a_response_without_a_request_answers_no_other_request(pieces: list[bytes]) -> None:
    turns = Turns()
    outcomes = run(ask(partial(answer_twice, pieces, turns), ["first", "second", "second"], turns))
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Completion)] == ["first", "second", "second"]


@pytest.mark.parametrize("size", [b"-1", b" 2", b"0x2", b"f" * 30, b"2 2", b"\xff"])
@pytest.mark.parametrize("is_together", [True, False])
def test_a_chunk_that_is_no_http_is_a_broken_answer(size: bytes, is_together: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED)
            if not is_together:
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(size + b"\r\n{}\r\n0\r\n\r\n")
            await reader.read()
        writer.close()

    [outcome] = run(ask(serve, ["first"]))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (
        ErrorClass.MALFORMED,
        "the connection broke off within the answer",
    )
