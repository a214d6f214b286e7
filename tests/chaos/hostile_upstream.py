"""Upstreams that attack their caller: `python -m tests.chaos.hostile_upstream`, one port for each kind.

The first line on stdout is JSON: the address of each by name. What a kind sends does not depend on the request. A kind
without an end sends as fast as its caller reads.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache, partial

import click

from benchmarks.processes import ROOT

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB_BYTES = 2**30
DRIP_SECONDS = 0.05
BLOCK = 2**20

Sends = Callable[[], AsyncIterator[bytes]]


def choice(message: bytes) -> bytes:
    return b'{"choices":[{"index":0,"message":{"role":"assistant",' + message + b'},"finish_reason":"stop"}]}'


def event(delta: bytes, more: bytes = b"") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{' + delta + b"}" + more + b"}]}\n\n"


@cache
def bomb(size: int = BOMB_BYTES) -> bytes:
    """A gzip file of an answer whose text has `size` characters. Each block is compressed once, and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin, end = choice(b'"content":"@"').split(b"@")
    head = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"a" * BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = packer.compress(end) + packer.flush()
    trailer = bytes(8)  # the checksum is wrong: a reader that gets so far has lost
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + block * (size // BLOCK) + tail + trailer


def encoded(body: Callable[[], bytes], encoding: bytes, head: bytes = JSON_HEAD) -> Sends:
    return lambda: _once(head + b"Content-Encoding: " + encoding + b"\r\n\r\n" + body())


def document(body: Callable[[], bytes], head: bytes = JSON_HEAD) -> Sends:
    return lambda: _once(head + b"\r\n" + body())


def endless(head: bytes, block: bytes) -> Sends:
    return lambda: _repeat(head, block)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _repeat(head: bytes, block: bytes) -> AsyncIterator[bytes]:
    yield head
    many = block * max(1, 65_536 // len(block))
    while True:
        yield many


async def _drip(head: bytes, block: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        await asyncio.sleep(DRIP_SECONDS)
        yield block


def _many(item: bytes, count: int) -> bytes:
    return b",".join([item] * count)


def _keys(count: int) -> bytes:
    return b",".join(b'"%d":{}' % number for number in range(count))


_ERROR_HEAD = JSON_HEAD.replace(b"200 OK", b"500 Error")
_TOP_LOGPROBS = b'{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[' + _many(b'{"token":"a"}', 20) + b"]}"
_CALLS = b",".join(
    b'{"index":%d,"id":"c%d","function":{"name":"f","arguments":"{}"}}' % (number * 10**9, number)
    for number in range(50)
)

_LONG_WAITS = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n%b\r\n" % b"".join(
    b"X-RateLimit-Reset-%d: %b\r\n" % (number, b"1h" * 30_000) for number in range(100)
)

KINDS: Mapping[str, Sends] = {
    "gzip_bomb": encoded(bomb, b"gzip"),
    "gzip_bomb_in_an_error": encoded(bomb, b"gzip", _ERROR_HEAD),
    "gzip_twice": encoded(lambda: gzip.compress(bomb(), mtime=0x0A0A0A0A), b"gzip, gzip"),  # with line ends in its head
    "unknown_encoding": encoded(lambda: b"\0" * 2**20, b"br"),
    "many_keys": document(lambda: choice(b'"content":"a","x":{' + _keys(700_000) + b"}")),
    "many_keys_at_the_top": document(lambda: b"{" + _keys(700_000) + b"," + choice(b'"content":"a"')[1:]),
    "many_tool_calls": document(lambda: choice(b'"content":"a","tool_calls":[' + _many(b"{}", 2_000_000) + b"]")),
    "many_choices": document(lambda: b'{"choices":[' + _many(b'{"message":{}}', 500_000) + b"]}"),
    "many_errors": document(
        lambda: b'{"error":{"message":[' + _many(b'{"msg":"a"}', 300_000) + b"]}}",
        JSON_HEAD.replace(b"200 OK", b"422 Unprocessable"),
    ),
    "long_error_message": document(lambda: b'{"error":{"message":"' + b"rate limit - " * 700_000 + b'"}}'),
    "deep": document(lambda: choice(b'"content":"a","x":' + b"[" * 2_000_000 + b"]" * 2_000_000)),
    "deep_enough_to_be_read": document(lambda: choice(b'"content":"a","x":' + b"[" * 950 + b"]" * 950)),
    "half_a_character_and_many_keys": document(lambda: choice(b'"content":"\\ud83d","x":{' + _keys(700_000) + b"}")),
    "long_text": document(lambda: choice(b'"content":"\\ud83d\\ude00' + b"a" * (30 * BLOCK) + b'"')),
    "many_lines": document(lambda: b"#\n" + event(b'"content":"a"') * 300_000),
    "endless_events": endless(STREAM_HEAD, event(b'"content":"a"')),
    "endless_tiny_events": endless(STREAM_HEAD, b"data:{}\n\n"),
    "endless_logprobs": endless(
        STREAM_HEAD, event(b'"content":"a"', b',"logprobs":{"content":[' + _many(_TOP_LOGPROBS, 20) + b"]}")
    ),
    "endless_wide_events": endless(STREAM_HEAD, event(b'"content":"a","x":{' + _keys(100_000) + b"}")),
    "endless_tool_calls": endless(STREAM_HEAD, event(b'"tool_calls":[' + _CALLS + b"]")),
    "endless_line": endless(STREAM_HEAD + b"data: ", b"a"),
    "endless_comments": endless(STREAM_HEAD, b":\n"),
    "endless_blanks": endless(STREAM_HEAD, b"\n"),
    "endless_body": endless(JSON_HEAD + b"\r\n", b" " * 64),
    "tiny_chunks": endless(CHUNKED, b"1\r\na\r\n"),
    "chunk_size": endless(CHUNKED, b"0"),
    "blank_lines_for_a_head": endless(b"", b"\r\n"),
    "empty_gzip_members": endless(JSON_HEAD + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"", mtime=0)),
    "half_characters": document(lambda: choice(b'"content":"' + b"\\ud83d" * 2_000_000 + b'"')),
    "long_waits": lambda: _once(_LONG_WAITS),
    "endless_trailers": endless(CHUNKED + b"0\r\n", b"X: a\r\n"),
    "chunk_extension": endless(CHUNKED + b"1;a=", b"a"),
    "long_header": endless(JSON_HEAD + b"X: ", b"a"),
    "many_headers": endless(JSON_HEAD, b"X: a\r\n"),
    "interim_responses": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "redirect_to_itself": lambda: _once(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "length_lie": lambda: _once(JSON_HEAD + b"Content-Length: 1000000000000\r\n\r\n{"),
    "cut_in_the_head": lambda: _once(b"HTTP/1.1 200 OK\r\nConte"),
    "cut_in_an_event": lambda: _once(STREAM_HEAD + event(b'"content":"a"') + event(b'"content":"a"')[:30]),
    "tls_silence": lambda: _once(b""),
    "answer_before_the_request": document(lambda: choice(b'"content":"a"')),
    "reset_in_the_upload": lambda: _once(b""),
    "upgrade": endless(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", b"\x82\x7e\xff\xff"),
    "no_head": endless(b"", b"<p>"),
    "long_reason": endless(b"HTTP/1.1 200 ", b"a"),
    "chunk_of_an_absurd_size": endless(CHUNKED + b"7fffffffffffffff\r\n", event(b'"content":"a"')),
    "deflate_bomb": encoded(lambda: b"\x78\xda" + bomb()[10:-8], b"deflate"),
    "gzip_bomb_of_events": encoded(
        lambda: gzip.compress(event(b'"content":"a"') * 5_000_000, 1), b"gzip", STREAM_HEAD[:-2]
    ),
    "redirect_to_another_host": lambda: _once(
        b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "endless_data_lines": endless(STREAM_HEAD, b"data: a\n"),
    "endless_json_lines": endless(JSON_HEAD.replace(b"json", b"x-ndjson") + b"\r\n", b'{"choices":[]}\n'),
    "endless_finish": endless(STREAM_HEAD, event(b'"content":"a"', b',"finish_reason":"stop"')),
    "a_text_for_an_endless_pattern": document(lambda: choice(b'"content":"' + b"a" * 50 + b'!"')),
    "slow_head": partial(_drip, b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "slow_body": partial(_drip, JSON_HEAD + b"\r\n", b" "),
    "slow_events": partial(_drip, STREAM_HEAD, event(b'"content":"a"')),
}  # fmt: skip


UNREAD = {"answer_before_the_request": 0, "reset_in_the_upload": 64 * 2**10}
"""How many bytes of a request these read. They reset the connection in the upload of a large one."""


async def serve_kind(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One response on a connection, then its end."""
    with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        if name in UNREAD:
            await reader.readexactly(UNREAD[name])
            writer.write(b"".join([data async for data in KINDS[name]()]))
            writer.transport.abort()
            return
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0]) if lengths else 0)
        async for data in KINDS[name]():
            writer.write(data)
            await writer.drain()
    writer.close()


async def open_kinds(names: Sequence[str]) -> dict[str, str]:
    """Open a port for each of these kinds; returns the addresses."""
    urls = {}
    for name in names:
        server = await asyncio.start_server(partial(serve_kind, name), "127.0.0.1", 0)
        scheme = "https" if name.startswith("tls") else "http"
        urls[name] = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return urls


async def serve(names: Sequence[str]) -> None:
    """Serve until SIGTERM."""
    click.echo(json.dumps(await open_kinds(names)))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


@asynccontextmanager
async def serving(names: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """These kinds in a process of its own; yields the addresses."""
    argv = [sys.executable, "-m", "tests.chaos.hostile_upstream", *names]
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
def main(kinds: tuple[str, ...]) -> None:
    """Serve upstreams of these kinds, all without any, on loopback."""
    asyncio.run(serve(kinds or tuple(KINDS)))


if __name__ == "__main__":
    main()
