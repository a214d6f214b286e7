"""A mock of an OpenAI-compatible upstream, cheap enough that it is never what a benchmark measures.

`python -m benchmarks.upstream --latency-ms 20 --log calls.jsonl` prints its URL and serves until SIGTERM.
Each line of the log is one event of one call: `received`, then `answered` (written to the socket in full) or
`abandoned` (the caller hung up before that). `job` is the call's marker: `metadata.job` of the body, else the content
of its last message. `monotonic` is CLOCK_MONOTONIC, which all processes of a machine share; `wall` is epoch seconds.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import click
import orjson
import uvloop

from benchmarks.answers import Call, read_call

_STATUS = {200: b"200 OK", 400: b"400 Bad Request", 404: b"404 Not Found", 405: b"405 Method Not Allowed"}
_CALLS = b"/v1/chat/completions"
_HEAD = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n%b\r\n"
)


@dataclass(slots=True)
class Upstream:
    """What all connections share: how slow to be, what was counted, and the log. `latency` and `delta` in seconds."""

    latency: float = 0.0
    delta: float = 0.0
    log: IO[bytes] | None = None
    received: int = 0
    answered: int = 0
    abandoned: int = 0
    connections: int = 0
    lines: list[bytes] = field(default_factory=list)

    def note(self, event: str, call: int, marker: str) -> None:
        """Count an event, and log it: lines are written once per turn of the event loop, so a kill costs a turn."""
        setattr(self, event, getattr(self, event) + 1)
        if self.log is None:
            return
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.flush)
        line = {"event": event, "call": call, "job": marker, "monotonic": time.monotonic(), "wall": time.time()}
        self.lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what has been noted."""
        if self.log is not None and self.lines:
            self.log.write(b"".join(self.lines))
            self.log.flush()
            self.lines.clear()

    def stats(self) -> dict[str, Any]:
        """Counts since the start, and the CPU seconds that serving them took."""
        return {
            "received": self.received,
            "answered": self.answered,
            "abandoned": self.abandoned,
            "connections": self.connections,
            "cpu_seconds": time.process_time(),
            "monotonic": time.monotonic(),
        }


class Connection(asyncio.Protocol):
    """One client. Requests on a connection are answered in order, one at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.call: Call | None = None
        self.timer: asyncio.Handle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from asyncio's
        self.upstream.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.connections -= 1
        if self.call:
            self.upstream.note("abandoned", self.call.number, self.call.marker)
            self.call = None
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        self._next()

    def _next(self) -> None:
        """Begin the next request of the buffer, when all of it is there and none is being answered."""
        while self.call is None and self.buffer and not self.transport.is_closing():
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            size = _content_length(head)
            if len(self.buffer) < end + 4 + size:
                return
            line = self.buffer[: self.buffer.find(b"\r\n")].split(b" ")
            body = self.buffer[end + 4 : end + 4 + size]
            self.buffer = self.buffer[end + 4 + size :]
            close = b"\r\nconnection: close" in head or line[-1] == b"HTTP/1.0"
            self._request(line, body, close)

    def _request(self, line: list[bytes], body: bytes, close: bool) -> None:
        method, path = (line[0], line[1].split(b"?")[0]) if len(line) == 3 else (b"", b"")
        if path == _CALLS and method == b"POST":
            self._begin(body, close)
        elif path == _CALLS:
            self._error(405, "Only POST is understood here.", close)
        elif path == b"/health":
            self._send(200, b'{"status":"ok"}', close)
        elif path == b"/stats":
            self._send(200, orjson.dumps(self.upstream.stats()), close)
        elif path == b"/v1/models":
            self._send(200, b'{"object":"list","data":[{"id":"mock","object":"model","owned_by":"benchmarks"}]}', close)
        else:
            self._error(404, f"Unknown request URL: {path.decode(errors='replace')}", close)

    def _begin(self, body: bytes, close: bool) -> None:
        try:
            request_body = orjson.loads(body)
            call = read_call(self.upstream.received + 1, request_body, close)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            self._error(400, "The body must be a JSON object with a model and messages.", close)
            return
        self.call = call
        self.upstream.note("received", call.number, call.marker)
        step = self._stream if call.stream else self._answer
        self.timer = self.loop.call_later(self.upstream.latency, step) if self.upstream.latency else None
        if self.timer is None:
            step()

    def _answer(self) -> None:
        call = self.call
        assert call is not None
        self._send(200, call.answer(), call.close)
        self._done(call)

    def _stream(self) -> None:
        call = self.call
        assert call is not None
        self.transport.write(_STREAM_HEAD % (b"Connection: close\r\n" if call.close else b""))
        self._stream_on(call.chunks())

    def _stream_on(self, chunks: list[bytes]) -> None:
        gap = self.upstream.delta
        now, later = (chunks[:1], chunks[1:]) if gap else (chunks, [])
        self.transport.write(b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in now))
        if later:
            self.timer = self.loop.call_later(gap, self._stream_on, later)
            return
        self.transport.write(b"0\r\n\r\n")
        call = self.call
        assert call is not None
        if call.close:
            self.transport.close()
        self._done(call)

    def _done(self, call: Call) -> None:
        self.call = self.timer = None
        self.upstream.note("answered", call.number, call.marker)
        if self.buffer:
            self.loop.call_soon(self._next)

    def _error(self, status: int, message: str, close: bool) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self._send(status, orjson.dumps({"error": error}), close)

    def _send(self, status: int, body: bytes, close: bool) -> None:
        connection = b"Connection: close\r\n" if close else b""
        self.transport.write(_HEAD % (_STATUS[status], len(body), connection, body))
        if close:
            self.transport.close()


def _content_length(head: bytes) -> int:
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at + 2)
    value = head[at + 17 : end if end > 0 else len(head)].strip()
    return int(value) if value.isdigit() else 0


async def serve(upstream: Upstream, port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT. The first line on stdout is the base URL."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=4096)
    click.echo(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stopped.wait()
    server.close()
    upstream.flush()


@click.command()
@click.option("--port", default=0, show_default="a free one")
@click.option("--latency-ms", default=0.0, show_default=True, help="Wait before an answer, or its first byte.")
@click.option("--delta-ms", default=0.0, show_default=True, help="Wait between the pieces of a streamed answer.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Append a line for each event of a call.")
def main(port: int, latency_ms: float, delta_ms: float, log: Path | None) -> None:
    """Answer chat completions on loopback like a model would, and count them."""
    upstream = Upstream(latency=latency_ms / 1000, delta=delta_ms / 1000)
    if log is None:
        uvloop.run(serve(upstream, port))
        return
    with log.open("ab", buffering=0) as upstream.log:
        uvloop.run(serve(upstream, port))


if __name__ == "__main__":
    main()
