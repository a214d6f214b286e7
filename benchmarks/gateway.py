"""The HTTP gateway against its upstream asked directly, in one run: latency, cost of an event, submits, silent streams.

`python -m benchmarks.gateway`. The upstream answers at once, so that what the gateway, Redis and the worker add is all
there is. Requests alternate between the two, so that a noisy second affects both. CPU and RSS are the gateway's own,
from /proc."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import aiohttp
import click
import yaml
from rich.console import Console

from benchmarks.contenders import PEERS
from benchmarks.latency import quantile
from benchmarks.peers.openfall import write_config
from benchmarks.peers.parameters import PROMPT
from benchmarks.processes import BenchmarkError, Child, started, usage, wait_for
from benchmarks.run_environment import START_TIMEOUT_S, Demand, RunEnvironment, run_environment
from benchmarks.server import find_free_port
from benchmarks.table import Row, Sheet, figure, show

DIRECT, GATEWAY, ADDED = "asked directly", "through the gateway", "added"
EVENT_MS = 50.0
"""Between two events of a stream: 20 a second."""
WORDS = 90
SUBMIT_CONNECTIONS = 32


@dataclass(frozen=True)
class Size:
    """The size of a run."""

    requests: int
    streams: int
    submits: int
    silent: int
    silent_seconds: float = 0.0


QUICK = Size(requests=100, streams=200, submits=3_000, silent=0)
FULL = Size(requests=1_000, streams=500, submits=15_000, silent=2_000, silent_seconds=600.0)


@dataclass(frozen=True)
class Endpoint:
    """Where chat completions are requested, and under which name of the model."""

    name: str
    base: str
    model: str

    def body(self, prompt: str, *, stream: bool) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], "stream": stream}


@dataclass(frozen=True)
class Run:
    """A gateway with its worker and its upstream."""

    environment: RunEnvironment
    child: Child
    gateway: Endpoint
    direct: Endpoint


@contextmanager
def open_run(demand: Demand, slots: int, console: Console, *, works: bool = True) -> Iterator[Run]:
    """A fresh environment with a gateway of one process, and a worker unless `works` is False."""
    with run_environment(replace(PEERS[0], slots=slots), demand, console) as environment:
        parameters, port = environment.parameters, find_free_port()
        settings = yaml.safe_load(write_config(parameters).read_text())
        file = parameters.directory / "gateway.yaml"
        file.write_text(yaml.safe_dump({**settings, "gateway": {"listen": [f"127.0.0.1:{port}"]}}))
        log = parameters.directory / "gateway.log"
        argv = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce"]
        with started(argv, log) as child:
            wait_for(lambda: '"ready"' in log.read_text(), START_TIMEOUT_S, "the gateway to start", child)
            gateway = Endpoint(GATEWAY, f"http://127.0.0.1:{port}/v1", "bench")
            run = Run(environment, child, gateway, Endpoint(DIRECT, f"{parameters.upstream}/v1", "mock"))
            if not works:
                yield run
                return
            with environment.worker() as worker:
                environment.wait_until_ready(worker)
                yield run


def open_session() -> aiohttp.ClientSession:
    """A client without limits of its own."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None))


async def read_events(
    session: aiohttp.ClientSession, endpoint: Endpoint, prompt: str, urgency: str = "interactive"
) -> AsyncIterator[bytes]:
    """The data lines of a stream that have content. Comments that keep it open are none."""
    headers = {"X-Openfall-Urgency": urgency}
    body = endpoint.body(prompt, stream=True)
    async with session.post(f"{endpoint.base}/chat/completions", json=body, headers=headers) as response:
        if response.status != 200:
            raise BenchmarkError(f"{endpoint.name}: status {response.status}: {(await response.text())[:200]}")
        async for line in response.content:
            if b'"content":"' in line and b'"content":""' not in line:
                yield line


async def measure_requests(run: Run, count: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds to the first token of a stream, and to a whole answer, one request at a time."""
    taken: dict[str, dict[str, list[float]]] = {e.name: {"first": [], "whole": []} for e in (run.direct, run.gateway)}
    async with open_session() as session:
        for number in range(-10, count):
            for endpoint in (run.direct, run.gateway):
                began = time.monotonic()
                first = None
                async for _ in read_events(session, endpoint, f"{number} {PROMPT}"):
                    first = first or time.monotonic()
                whole_began = time.monotonic()
                body = endpoint.body(f"{number} whole {PROMPT}", stream=False)
                async with session.post(f"{endpoint.base}/chat/completions", json=body) as response:
                    text = await response.text()
                if first is None or response.status != 200:
                    raise BenchmarkError(f"{endpoint.name}: no answer: {text[:200]}")
                if number >= 0:  # the first ones open connections
                    taken[endpoint.name]["first"].append((first - began) * 1000)
                    taken[endpoint.name]["whole"].append((time.monotonic() - whole_began) * 1000)
    return taken


async def measure_streams(run: Run, endpoint: Endpoint, count: int) -> dict[str, float]:
    """`count` streams at once: events a second, the 99th percentile of the gaps between events, cost of the gateway."""
    gaps: list[float] = []
    events = 0

    async def follow(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal events
        previous = None
        async for _ in read_events(session, endpoint, f"{number} " + "a " * WORDS):
            now = time.monotonic()
            if previous is not None:
                gaps.append((now - previous) * 1000)
            previous, events = now, events + 1

    used, began = usage(run.child.popen.pid), time.monotonic()
    async with open_session() as session:
        await asyncio.gather(*(follow(session, number) for number in range(count)))
    seconds, after = time.monotonic() - began, usage(run.child.popen.pid)
    figures = {"rate": events / seconds, "gap_p99": quantile(gaps, 0.99)}
    if endpoint is run.gateway:
        cpu = after.cpu_seconds - used.cpu_seconds
        figures |= {"cpu": cpu / events * 1e6, "rss": after.rss / 2**20}
    return figures


async def measure_submits(run: Run, count: int) -> dict[str, float]:
    """Responses of the background, accepted in a second."""
    numbers = iter(range(count))

    async def submit(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {"model": run.gateway.model, "input": f"{number} {PROMPT}", "background": True}
            async with session.post(f"{run.gateway.base}/responses", json=body) as response:
                if response.status != 200:
                    raise BenchmarkError(f"a submit was refused: {response.status}: {(await response.text())[:200]}")
                await response.read()

    used, began = usage(run.child.popen.pid), time.monotonic()
    async with open_session() as session:
        await asyncio.gather(*(submit(session) for _ in range(SUBMIT_CONNECTIONS)))
    seconds, after = time.monotonic() - began, usage(run.child.popen.pid)
    return {"rate": count / seconds, "cpu": (after.cpu_seconds - used.cpu_seconds) / count * 1e6}


async def measure_silent(run: Run, count: int, seconds: float) -> dict[str, float]:
    """`count` streams without an event for so long: those that ended, and the memory of the gateway."""

    async def hold(session: aiohttp.ClientSession, number: int) -> None:
        async for _ in read_events(session, run.gateway, f"{number} silent", "batch"):
            pass

    async with open_session() as session:
        held = [asyncio.create_task(hold(session, number)) for number in range(count)]
        ended, _ = await asyncio.wait(held, timeout=seconds)
        rss = usage(run.child.popen.pid).rss / 2**20
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
    return {"ended": len(ended), "rss": rss}


def compare(size: Size, console: Console) -> list[Sheet]:
    """All measurements of one size. One that fails is reported, and does not stop the others."""
    parts = [compare_requests, compare_streams, compare_submits, *([compare_silent] if size.silent else [])]
    sheets = []
    for part in parts:
        title = str(part.__doc__)
        console.print(f"[dim]{title}[/dim]")
        try:
            sheets.append(part(size, console))
        except BenchmarkError as error:
            sheets.append(Sheet(title, {}, [Row(GATEWAY, {}, str(error))]))
    return sheets


def compare_requests(size: Size, console: Console) -> Sheet:
    """The gateway: one request at a time"""
    with open_run(Demand(4 * size.requests), 128, console) as run:
        return request_sheet(asyncio.run(measure_requests(run, size.requests)))


def compare_streams(size: Size, console: Console) -> Sheet:
    """The gateway: many streams at once"""
    with open_run(Demand(size.streams, delta_ms=EVENT_MS), size.streams, console) as run:
        rows = [
            (each.name, asyncio.run(measure_streams(run, each, size.streams))) for each in (run.direct, run.gateway)
        ]
    columns = {"rate": "events/s", "gap_p99": "gap p99 ms", "cpu": "gateway CPU µs/event", "rss": "gateway RSS MiB"}
    note = f"Events are {EVENT_MS:.0f} ms apart; the rate includes the start. Bars: 70 µs an event, 150 MB."
    return _sheet(f"The gateway: {size.streams} streams of 20 events/s", columns, rows, note)


def compare_submits(size: Size, console: Console) -> Sheet:
    """The gateway: Responses of the background"""
    with open_run(Demand(size.submits), 128, console, works=False) as run:
        rows = [(GATEWAY, asyncio.run(measure_submits(run, size.submits)))]
    columns = {"rate": "submits/s", "cpu": "gateway CPU µs/submit"}
    note = f"{SUBMIT_CONNECTIONS} connections, one process of the gateway, no worker. Bar: 1,500/s."
    return _sheet("The gateway: Responses of the background", columns, rows, note)


def compare_silent(size: Size, console: Console) -> Sheet:
    """The gateway: silent streams"""
    # Without a worker, and of the urgency that waits for longest: no limit of a job ends them.
    with open_run(Demand(size.silent), size.silent, console, works=False) as run:
        rows = [(GATEWAY, asyncio.run(measure_silent(run, size.silent, size.silent_seconds)))]
    columns = {"ended": "ended too early", "rss": "gateway RSS MiB"}
    note = f"Held for {size.silent_seconds:.0f} s. Bars: none ended, 150 MB."
    return _sheet(f"The gateway: {size.silent:,} silent streams", columns, rows, note)


def request_sheet(taken: dict[str, dict[str, list[float]]]) -> Sheet:
    """The rows of both endpoints, and the difference: what the gateway adds."""
    rows = [
        (
            name,
            {
                "first_p50": median(each["first"]),
                "first_p99": quantile(each["first"], 0.99),
                "whole_p50": median(each["whole"]),
            },
        )
        for name, each in taken.items()
    ]
    direct, gateway = (figures for _, figures in rows)
    rows.append((ADDED, {key: gateway[key] - direct[key] for key in gateway}))
    columns = {"first_p50": "first token p50 ms", "first_p99": "p99 ms", "whole_p50": "whole answer p50 ms"}
    note = "One at a time, alternately. Bars for what is added: first token 5 and 25 ms, whole answer 8 ms."
    return _sheet("The gateway: one request at a time", columns, rows, note, ratio="first_p50")


def _sheet(
    title: str, columns: dict[str, str], rows: list[tuple[str, dict[str, float]]], note: str, ratio: str = ""
) -> Sheet:
    shown = [Row(name, {key: figure([each[key]]) if key in each else None for key in columns}) for name, each in rows]
    return Sheet(title, columns, shown, ratio, DIRECT if ratio else "", (note,))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Fewer requests and streams, and no silent ones: a minute.")
def main(as_json: bool, quick: bool) -> None:
    """Compare the HTTP gateway with its upstream asked directly."""
    show(compare(QUICK if quick else FULL, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
