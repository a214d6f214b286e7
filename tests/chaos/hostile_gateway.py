"""The scenario `hostilegateway`: one gateway process under each kind of hostile client, and small requests beside it.

The gateway keeps its promise if it lives, its memory grows by no more than a bound, and every small request is answered
in time. A calm gateway beside it, without hostile clients, gets the same small requests. Its
slowest answer shows how busy the machine is."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.processes import Child, started, wait_for
from benchmarks.server import find_free_port
from tests.chaos.environment import environment, mock_upstream
from tests.chaos.harness import workers
from tests.chaos.judge.promise import PATIENCE
from tests.chaos.progress import Progress

MAX_MEMORY_MB = 500
MAX_ANSWER_SECONDS, MAX_TIMES_CALM = 3.0, 3.0
"""The limits of a small request: seconds, or a multiple of the slowest one at the calm gateway if that is longer."""
SMALL_REQUESTS_A_SECOND = 10
LARGE_BYTES = 32 * 2**20 - 4096
SAY = {"model": "chat", "messages": [{"role": "user", "content": "small"}]}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"

Attack = Callable[[int, float], Awaitable[None]]


async def run(kinds: Sequence[str], seconds: float, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run these kinds one after another, each at a gateway of its own; returns the verdict."""
    rows = []
    good, long = mock_upstream("good", 20.0, directory), mock_upstream("long", 20.0, directory)
    long.options = [*long.options, "--delta-ms", "1"]
    with environment(directory, 64, [good, long]) as world:
        world.write_config({
            "pools": {"gpu": {}, "idle": {}},
            "backends": {
                **{s.name: {"url": s.url, "pool": "gpu", "slots": 64} for s in (good, long)},
                "none": {"url": good.url, "pool": "idle"},  # no worker: only the gateway is loaded
            },
            "models": {name: {"upstream": name, "backends": [name]} for name in ("good", "long", "none")},
            "roles": {"chat": {"chain": ["good"]}, "long": {"chain": ["long"]}, "none": {"chain": ["none"]}},
        })  # fmt: skip
        with workers(world, ["gpu"]) as pool:
            await pool.wait_until_ready()
            for kind in kinds:
                progress.log_line(f"{kind}: hostile clients, and small requests for {seconds:g} s")
                rows.append(await _run_kind(kind, seconds, directory, world.config))
    return {
        "kept": all(row["kept"] for row in rows),
        "rows": rows,
        "problems": [error for row in rows for error in row["errors"]],
    }


async def _run_kind(kind: str, seconds: float, directory: Path, config: Path) -> dict[str, Any]:
    with _gateway(f"{kind}-calm", directory, config) as (_, calm_port), _gateway(kind, directory, config) as running:
        child, port = running
        attacking = asyncio.create_task(KINDS[kind](port, seconds))
        took, calm = await asyncio.gather(_ask_small(port, seconds), _ask_small(calm_port, seconds))
        memory = _peak_mb(child.popen.pid) if child.popen.poll() is None else 0
        attacking.cancel()
        await asyncio.gather(attacking, return_exceptions=True)
    answered = [each for each in took if isinstance(each, float)]
    row = {
        "kind": kind,
        "alive": memory > 0,
        "memory_mb": memory,
        "answered": len(answered),
        "requests": len(took),
        "slowest_seconds": round(max(answered, default=0.0), 3),
        "calm_seconds": round(max((each for each in calm if isinstance(each, float)), default=0.0), 3),
        "errors": sorted({each for each in took if isinstance(each, str)}),
    }
    return {**row, "kept": is_kept(row)}


@contextmanager
def _gateway(name: str, directory: Path, config: Path) -> Iterator[tuple[Child, int]]:
    """A gateway process, and its port."""
    port, file, log = find_free_port(), directory / f"gateway-{name}.yaml", directory / f"gateway-{name}.log"
    settings = yaml.safe_load(config.read_text())
    file.write_text(yaml.safe_dump({**settings, "gateway": {"listen": [f"127.0.0.1:{port}"]}}))
    argv = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce", "--quiet"]
    with started(argv, log) as child:
        wait_for(lambda: '"ready"' in log.read_text(), 60.0, "the gateway", child)
        yield child, port


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a gateway kept its promise."""
    return bool(
        row["alive"]
        and row["memory_mb"] < MAX_MEMORY_MB
        and row["answered"] == row["requests"]
        and row["slowest_seconds"] <= max(MAX_ANSWER_SECONDS, MAX_TIMES_CALM * row["calm_seconds"])
    )


async def _ask_small(port: int, seconds: float) -> list[float | str]:
    """How long each of some small requests took, or why it was not answered."""
    loop = asyncio.get_running_loop()

    async def ask(http: httpx.AsyncClient, number: int) -> float | str:
        began = loop.time()
        try:
            body = {**SAY, "messages": [{"role": "user", "content": f"small {number}"}]}
            response = await http.post("/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            return repr(error)
        return loop.time() - began if response.status_code == 200 else f"{response.status_code} {response.text[:200]}"

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20 * PATIENCE) as http:
        requests = []
        for number in range(int(seconds * SMALL_REQUESTS_A_SECOND)):
            requests.append(asyncio.create_task(ask(http, number)))
            await asyncio.sleep(1 / SMALL_REQUESTS_A_SECOND)
        return await asyncio.gather(*requests)


async def _many(port: int, count: int, client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> None:
    """This many connections at once, each with a hostile client."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError):
            await client(reader, writer)
        writer.close()

    await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


async def half_open(port: int, seconds: float) -> None:
    """1,000 connections that send nothing."""
    await _many(port, 1000, lambda *_: asyncio.sleep(seconds * 4))


async def slow_bodies(port: int, seconds: float) -> None:
    """200 requests whose bodies come byte by byte."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: 30000000\r\n\r\n{")
        for _ in range(int(seconds * 10)):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)

    await _many(port, 200, client)


async def huge_heads(port: int, seconds: float) -> None:
    """20 requests with a head that does not end."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"x-long: ")
        for _ in range(int(seconds * 100)):
            writer.write(b"a" * 2**20)
            await writer.drain()
            await asyncio.sleep(0.01)

    await _many(port, 20, client)


async def large_bodies(port: int, seconds: float) -> None:
    """24 requests of 32 MiB at once."""
    body = b'{"model":"none","messages":[{"role":"user","content":"%b"}]}' % (b"a" * LARGE_BYTES)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await reader.read(1024)

    await _many(port, 24, client)


async def commas(port: int, seconds: float) -> None:
    """Bodies of 32 MiB that are hard to read."""
    for body in (b"," * LARGE_BYTES, b"[" + b"1," * 300_001 + b'"' + b'\\"' * (LARGE_BYTES // 2 - 400_000)):

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes = body) -> None:
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            await reader.read(1024)

        await _many(port, 3, client)


async def slow_readers(port: int, seconds: float) -> None:
    """50 streams of long answers whose readers stop reading."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"model":"long","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (b"a " * 20_000)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        await asyncio.sleep(seconds * 4)

    await _many(port, 50, client)


async def pipelining(port: int, seconds: float) -> None:
    """20 connections with 5,000 requests each, sent at once."""
    request = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(50):
            writer.write(request * 100)
            await writer.drain()
        await asyncio.sleep(seconds)

    await _many(port, 20, client)


async def _bodies_without_end(port: int, seconds: float, begin: bytes, block: bytes) -> None:
    """20 requests whose chunked bodies go on in this way as fast as the gateway reads."""
    many = block * (65_536 // len(block))

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n" + begin)
        while True:
            writer.write(many)
            await writer.drain()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * 4):
            await _many(port, 20, client)


async def chunk_sizes(port: int, seconds: float) -> None:
    """The size of a chunk that does not end."""
    await _bodies_without_end(port, seconds, b"", b"0")


async def tiny_chunks(port: int, seconds: float) -> None:
    """Chunks of one byte."""
    await _bodies_without_end(port, seconds, b"", b"1\r\n{\r\n")


async def trailers(port: int, seconds: float) -> None:
    """Trailers that do not end, behind a whole body."""
    await _bodies_without_end(port, seconds, b"2\r\n{}\r\n0\r\n", b"x: a\r\n")


async def long_trailer(port: int, seconds: float) -> None:
    """One trailer that does not end, behind a whole body."""
    await _bodies_without_end(port, seconds, b"2\r\n{}\r\n0\r\nx: ", b"a")


async def slow_heads(port: int, seconds: float) -> None:
    """1,000 requests whose heads come byte by byte."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in HEAD:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1.0)

    await _many(port, 1000, client)


async def tiny_headers(port: int, seconds: float) -> None:
    """20 clients that send heads of 100,000 short headers, one after another."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"a:\r\n" * 100_000 + b"\r\n")
        await writer.drain()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * 4):
            while True:
                await _many(port, 20, client)


async def unread_responses(port: int, seconds: float) -> None:
    """100 connections with 100 requests each, for the longest response there is, whose callers do not read."""

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 100)
        await asyncio.sleep(seconds * 4)

    await _many(port, 100, client)


async def hard_uploads(port: int, seconds: float) -> None:
    """21 uploads at once of forms that are slow to read: many fields, or a file of halves of boundaries."""
    head = b"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    field = b'--x\r\ncontent-disposition: form-data; name="%b"\r\n\r\n'
    forms = (
        (b"", (field % b"a" + b"\r\n") * 1000),
        (field % b"file", b"\r\n--" * 2**14),
        (field % b"file", b"\r" * 2**16),
    )

    async def client(begin: bytes, block: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"content-length: 200000000\r\n\r\n" + begin)
        while True:
            writer.write(block)
            await writer.drain()

    def clients(begin: bytes, block: bytes) -> Awaitable[None]:
        return _many(port, 7, lambda _, writer: client(begin, block, writer))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * 4):
            while True:
                await asyncio.gather(*(clients(*form) for form in forms))


KINDS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        half_open, slow_bodies, huge_heads, large_bodies, commas, slow_readers, pipelining,
        chunk_sizes, tiny_chunks, trailers, long_trailer, slow_heads, tiny_headers, unread_responses, hard_uploads,
    )
}  # fmt: skip


def _peak_mb(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1024 if match else 0
