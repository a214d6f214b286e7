"""The HTTP gateway against its upstream asked directly, in one run: latency, cost of an event, submits, silent streams.

`python -m benchmarks.gateway`. LiteLLM's proxy stands beside it: the same upstream, the same client, a process each.
It has no queue: it calls the upstream itself, where openfall's gateway puts a job into Redis, and a worker calls. The
upstream answers at once, so that what lies between is all there is. Requests alternate between all of them, so that a
noisy second affects each. CPU and RSS are from /proc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import aiohttp
import click
from rich.console import Console

from benchmarks.gateway_endpoints import (
    DIRECT,
    GATEWAY,
    PROXY,
    Endpoint,
    Proxy,
    Run,
    find_proxy,
    open_run,
    open_session,
    read_events,
)
from benchmarks.latency import quantile
from benchmarks.peers.parameters import PROMPT
from benchmarks.processes import BenchmarkError
from benchmarks.run_environment import Demand
from benchmarks.table import Row, Sheet, figure, show

ADDED = "added by "
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


async def measure_requests(endpoints: Sequence[Endpoint], count: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds to the first token of a stream, and to a whole answer, one request at a time."""
    taken: dict[str, dict[str, list[float]]] = {each.name: {"first": [], "whole": []} for each in endpoints}
    async with open_session() as session:
        for number in range(-10, count):
            for endpoint in endpoints:
                first, whole = await _time_request(session, endpoint, number)
                if number >= 0:  # the first ones open connections
                    taken[endpoint.name]["first"].append(first * 1000)
                    taken[endpoint.name]["whole"].append(whole * 1000)
    return taken


async def _time_request(session: aiohttp.ClientSession, endpoint: Endpoint, number: int) -> tuple[float, float]:
    """Seconds to the first token of a stream, and to a whole answer."""
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
    return first - began, time.monotonic() - whole_began


async def measure_streams(endpoint: Endpoint, count: int) -> dict[str, float]:
    """`count` streams at once: events a second, the 99th percentile of the gaps between events, and their cost."""
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

    before, began = [usage.cpu_seconds for usage in endpoint.usages], time.monotonic()
    async with open_session() as session:
        await asyncio.gather(*(follow(session, number) for number in range(count)))
    seconds, after = time.monotonic() - began, endpoint.usages
    figures = {"rate": events / seconds, "gap_p99": quantile(gaps, 0.99)}
    if after:
        costs = [(usage.cpu_seconds - used) / events * 1e6 for usage, used in zip(after, before, strict=True)]
        sizes = [usage.rss / 2**20 for usage in after]
        figures |= {"cpu": costs[0], "rss": sizes[0], "whole_cpu": sum(costs), "whole_rss": sum(sizes)}
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

    used, began = run.gateway.usages[0], time.monotonic()
    async with open_session() as session:
        await asyncio.gather(*(submit(session) for _ in range(SUBMIT_CONNECTIONS)))
    seconds, after = time.monotonic() - began, run.gateway.usages[0]
    return {"rate": count / seconds, "cpu": (after.cpu_seconds - used.cpu_seconds) / count * 1e6}


async def measure_silent(run: Run, count: int, seconds: float) -> dict[str, float]:
    """`count` streams without an event for so long: those that ended, and the memory of the gateway."""

    async def hold(session: aiohttp.ClientSession, number: int) -> None:
        async for _ in read_events(session, run.gateway, f"{number} silent", "batch"):
            pass

    async with open_session() as session:
        held = [asyncio.create_task(hold(session, number)) for number in range(count)]
        ended, _ = await asyncio.wait(held, timeout=seconds)
        rss = run.gateway.usages[0].rss / 2**20
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
    return {"ended": len(ended), "rss": rss}


def compare(size: Size, console: Console, proxy: Proxy | None = None) -> list[Sheet]:
    """All measurements of one size. One that fails is reported, and does not stop the others."""
    other = proxy or find_proxy(console)
    parts = [compare_requests, compare_streams, compare_submits, *([compare_silent] if size.silent else [])]
    sheets = []
    for part in parts:
        title = str(part.__doc__)
        console.print(f"[dim]{title}[/dim]")
        try:
            sheets.append(part(size, other, console))
        except BenchmarkError as error:
            sheets.append(Sheet(title, {}, [Row(GATEWAY, {}, str(error))]))
    return sheets


def compare_requests(size: Size, proxy: Proxy, console: Console) -> Sheet:
    """The gateway: one request at a time"""
    with open_run(Demand(6 * size.requests), 128, console, proxy) as run:
        return request_sheet(asyncio.run(measure_requests(run.endpoints, size.requests)), proxy.missing)


def compare_streams(size: Size, proxy: Proxy, console: Console) -> Sheet:
    """The gateway: many streams at once"""
    with open_run(Demand(size.streams, delta_ms=EVENT_MS), size.streams, console, proxy) as run:
        rows = [(each.name, asyncio.run(measure_streams(each, size.streams))) for each in run.endpoints]
    columns = {"rate": "events/s", "gap_p99": "gap p99 ms", "cpu": "CPU µs/event", "rss": "RSS MiB"}
    columns |= {"whole_cpu": "all CPU µs/event", "whole_rss": "all RSS MiB"}
    note = f"Events are {EVENT_MS:.0f} ms apart; the rate includes the start. Bars: 70 µs an event, 150 MB."
    all_note = "CPU and RSS are those of the process that callers reach; all: the worker and Valkey too."
    title = f"The gateway: {size.streams} streams of 20 events/s"
    return _sheet(title, columns, rows, (note, all_note), proxy.missing)


def compare_submits(size: Size, _proxy: Proxy, console: Console) -> Sheet:
    """The gateway: Responses of the background"""
    with open_run(Demand(size.submits), 128, console) as run:
        rows = [(GATEWAY, asyncio.run(measure_submits(run, size.submits)))]
    columns = {"rate": "submits/s", "cpu": "gateway CPU µs/submit"}
    note = f"{SUBMIT_CONNECTIONS} connections, one process of the gateway, no worker. Bar: 1,500/s."
    return _sheet("The gateway: Responses of the background", columns, rows, (note,))


def compare_silent(size: Size, _proxy: Proxy, console: Console) -> Sheet:
    """The gateway: silent streams"""
    # Without a worker, and of the urgency that waits for longest: no limit of a job ends them.
    with open_run(Demand(size.silent), size.silent, console) as run:
        rows = [(GATEWAY, asyncio.run(measure_silent(run, size.silent, size.silent_seconds)))]
    columns = {"ended": "ended too early", "rss": "gateway RSS MiB"}
    note = f"Held for {size.silent_seconds:.0f} s. Bars: none ended, 150 MB."
    return _sheet(f"The gateway: {size.silent:,} silent streams", columns, rows, (note,))


def request_sheet(taken: dict[str, dict[str, list[float]]], missing: str = "") -> Sheet:
    """The rows of all endpoints, and the differences to the upstream asked directly: what each adds."""
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
    (_, direct), *others = rows
    rows += [(ADDED + name, {key: each[key] - direct[key] for key in each}) for name, each in others]
    columns = {"first_p50": "first token p50 ms", "first_p99": "p99 ms", "whole_p50": "whole answer p50 ms"}
    note = "One at a time, alternately. Bars for what openfall adds: first token 5 and 25 ms, whole answer 8 ms."
    return _sheet("The gateway: one request at a time", columns, rows, (note,), missing)


def _sheet(
    title: str,
    columns: dict[str, str],
    rows: list[tuple[str, dict[str, float]]],
    notes: tuple[str, ...],
    missing: str = "",
) -> Sheet:
    """A table. `missing`: why there is no row of LiteLLM's proxy."""
    ratio = next((key for key in columns if key == "first_p50"), "")
    shown = [Row(name, {key: figure([each[key]]) if key in each else None for key in columns}) for name, each in rows]
    shown += [Row(PROXY, {}, missing)] if missing else []
    return Sheet(title, columns, shown, ratio, DIRECT if ratio else "", notes)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Fewer requests and streams, and no silent ones: a minute.")
@click.option("--alone", is_flag=True, help="Without LiteLLM's proxy, whose packages take 700 MB.")
def main(as_json: bool, quick: bool, alone: bool) -> None:
    """Compare the HTTP gateway with its upstream asked directly, and with LiteLLM's proxy."""
    proxy = Proxy(missing="left out") if alone else None
    show(compare(QUICK if quick else FULL, Console(stderr=True), proxy), as_json)


if __name__ == "__main__":
    main()
