"""`python -m benchmarks.page`: what open pages cost the gateway and Redis, beside the same gateway without them.

A busy fleet stands behind it: 10,000 jobs that wait in all of its 300 queues, held jobs, open breakers, pending
notifications, refused requests, and jobs that arrive. The gateway is a process of its own. The live pages (`/` and
`/outbox`) are held open; each other page is loaded a few times. It takes about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
import redis.asyncio as aioredis

from benchmarks.server import Server, find_free_port, valkey
from openfall.producers.page.front_page import OUTBOX_SECTIONS, SECTIONS
from openfall.producers.page.section import Section

JOBS, HELD_JOBS = 10_000, 300
URGENCIES = ("interactive", "background", "batch")
HZ = os.sysconf("SC_CLK_TCK")
OUTBOX_ENTRIES, REFUSED_KEYS = 150, 20
OTHER_PAGES = (
    "/job", "/batch", "/model", "/breaker", "/audit", "/statistics", "/cost", "/cost?show=model&days=30", "/keys",
    "/try", "/preflight", "/config", "/runbook",
)  # fmt: skip
"""Pages that are read when they are opened, and at no other time."""
OTHER_LOADS = 5
MAX_GATEWAY_SHARE, MAX_COMMANDS = 0.05, 50.0
"""What all open pages may cost together: of one core, and commands a second."""
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PageCost:
    """What a span of time cost: shares of one core, commands a second that clients sent, and those of their scripts."""

    gateway_share: float
    redis_share: float
    commands: float
    of_scripts: float
    events: float


def config_text(redis_url: str, port: int, model_count: int) -> str:
    """A configuration with three queues for each model, one for each urgency."""
    models = "\n".join(f"  m{n}: {{upstream: m-{n}, backends: [rack]}}" for n in range(model_count))
    return (
        f"redis: {redis_url}\npools: {{gpu: {{local: yes}}}}\n"
        "backends: {rack: {protocol: openai, url: 'http://127.0.0.1:9', pool: gpu, slots: 64}}\n"
        f"models:\n{models}\nroles: {{chat: {{chain: [m0]}}}}\ngateway: {{listen: ['127.0.0.1:{port}']}}\n"
    )


async def fill(client: aioredis.Redis, model_count: int) -> None:
    """10,000 jobs that wait in all queues, 300 held jobs, and open breakers: what the page reads of them is written."""
    now = int(time.time() * 1000)
    pipe = client.pipeline(transaction=False)
    for number in range(JOBS):
        queue = f"gpu.m{number % model_count}.{URGENCIES[number // model_count % 3]}"
        pipe.sadd("rq:queues", f"rq:queue:{queue}")
        pipe.rpush(f"rq:queue:{queue}", f"job{number}")
        pipe.hset(f"of:job:job{number}", mapping={"accepted": now - number, "state": "queued", "queue": queue})
        pipe.zadd("of:jobs", {f"job{number}": now - number})
    for number in range(HELD_JOBS):
        fields = {"state": "held", "held_for": "outage", "held_by": "m0", "held_at": now, "queue": "degrade"}
        pipe.hset(f"of:job:held{number}", mapping={**fields, "fell_from": "gpu.m0.batch", "accepted": now - number})
        pipe.zadd("rq:deferred:degrade", {f"held{number}": now // 1000})
    for number in range(min(model_count, 20)):
        target = f"rack/m{number}"
        pipe.sadd("of:breakers", target)
        fields = {"state": "open", "epoch": 1, "away_since": now, "until": now + 9e6, "cause": "timeout"}
        pipe.hset(f"of:breaker:{target}", mapping=fields)
    for number in range(OUTBOX_ENTRIES):
        entry = f"job:job{number}:done"
        pipe.zadd("of:outbox", {entry: now + 3_600_000})
        pipe.hset(f"of:outbox-entry:{entry}", mapping={"tries": 2, "why": "HTTP 503"})
    refused = {f"key{number} rate_limit n": 7 for number in range(REFUSED_KEYS)}
    pipe.hset(f"of:refused:{time.strftime('%Y-%m-%d', time.gmtime())}", mapping=refused)
    await pipe.execute()


async def stir(client: aioredis.Redis, model_count: int) -> None:
    """Jobs arrive, so that the section of queues changes with every reading."""
    number = 0
    while True:
        number += 1
        await client.rpush(f"rq:queue:gpu.m{number % model_count}.batch", f"job{number}")
        await asyncio.sleep(0.2)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HZ


async def measure(gateway: int, server: Server, seconds: float, counts: list[int]) -> PageCost:
    """What the time costs; then, apart from that, the commands that clients send: to watch them costs Redis time."""
    before = (cpu_seconds(gateway), server.cpu_seconds, counts[0], time.monotonic())
    await asyncio.sleep(seconds)
    span = time.monotonic() - before[3]
    after = (cpu_seconds(gateway), server.cpu_seconds, counts[0])
    gateway_share, redis_share, events = ((now - then) / span for now, then in zip(after, before, strict=False))
    return PageCost(gateway_share, redis_share, *await _commands(server, seconds), events)


async def _commands(server: Server, seconds: float) -> tuple[float, float]:
    """Commands a second that clients send, but for those of this benchmark, and those that their scripts run."""
    sent = of_scripts = 0
    client = aioredis.Redis.from_url(server.url)
    async with client.monitor() as monitor:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    line = await monitor.next_command()
                    is_ours = str(line["command"]).upper().startswith("RPUSH RQ:QUEUE")
                    of_scripts += line["client_type"] == "lua"
                    sent += line["client_type"] != "lua" and not is_ours
        except TimeoutError:
            pass
    await client.aclose()
    return sent / seconds, of_scripts / seconds


async def open_page(session: aiohttp.ClientSession, url: str, sections: Sequence[Section], counts: list[int]) -> None:
    names = ",".join(section.name for section in sections)
    async with session.get(f"{url}/page/live?sections={names}") as response:
        async for line in response.content:
            counts[0] += line.startswith(b"event:")


async def run(pages: int, seconds: float, model_count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="of-") as home, valkey() as server:
        port = find_free_port()
        file = Path(home) / "openfall.yaml"
        file.write_text(config_text(server.url, port, model_count))
        client = aioredis.Redis.from_url(server.url)
        await fill(client, model_count)
        command = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file)]
        gateway = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        stirring = asyncio.create_task(stir(client, model_count))
        try:
            await _measure_all(f"http://127.0.0.1:{port}", gateway.pid, server, pages, seconds)
        finally:
            stirring.cancel()
            gateway.terminate()
            await gateway.wait()
            await client.aclose()


async def _measure_all(url: str, gateway: int, server: Server, pages: int, seconds: float) -> None:
    counts = [0]
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:
        await _until_ready(session, url)
        loads = [await _load(session, url) for _ in range(20)]
        click.echo(
            f"the page loads in {statistics.median(loads) * 1000:.0f} ms (median), {max(loads) * 1000:.0f} ms (most)"
        )
        click.echo(f"{'':16}{'gateway':>14}{'Redis':>16}{'commands/s':>14}{'in scripts/s':>14}{'events/s':>12}")
        idle: PageCost | None = None
        for number, path, sections in ((0, "/", SECTIONS), (pages, "/", SECTIONS), (pages, "/outbox", OUTBOX_SECTIONS)):
            tasks = [asyncio.create_task(open_page(session, url, sections, counts)) for _ in range(number)]
            await asyncio.sleep(SETTLE_SECONDS)
            cost = await measure(gateway, server, seconds, counts)
            shares = f"{cost.gateway_share:>13.1%} {cost.redis_share:>15.1%}"
            commands = f"{cost.commands:>13.1f}{cost.of_scripts:>14.1f}"
            click.echo(f"{f'{number} x {path}':16}{shares} {commands}{cost.events:>12.1f}")
            if idle is not None:
                click.echo(_verdict(cost, idle))
            idle = idle or cost
            closed = [task for task in tasks if task.done()]
            if closed:
                click.echo(f"{len(closed)} of them were closed: {closed[0]}", err=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(SETTLE_SECONDS)
        for path in OTHER_PAGES:
            before = cpu_seconds(gateway)
            loads = [await _load(session, url + path) for _ in range(OTHER_LOADS)]
            used = (cpu_seconds(gateway) - before) / OTHER_LOADS
            click.echo(f"{path:26}{statistics.median(loads) * 1000:>8.0f} ms{used * 1000:>8.0f} ms of CPU")


def _verdict(cost: PageCost, idle: PageCost) -> str:
    """What open pages cost beside a gateway without them, and whether that is less than they may."""
    share = cost.gateway_share - idle.gateway_share
    sent, of_scripts = cost.commands - idle.commands, cost.of_scripts - idle.of_scripts
    kept = share < MAX_GATEWAY_SHARE and sent < MAX_COMMANDS
    return (
        f"{'':4}{'kept' if kept else 'BROKEN'}: they add {share:.1%} of a core (less than {MAX_GATEWAY_SHARE:.0%}) and "
        f"{sent:.1f} commands/s (less than {MAX_COMMANDS:g}), beside {of_scripts:.1f} within scripts"
    )


async def _load(session: aiohttp.ClientSession, url: str) -> float:
    started = time.perf_counter()
    async with session.get(url, headers={"accept": "text/html"}) as response:
        assert response.status == 200
        await response.read()
    return time.perf_counter() - started


async def _until_ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await _load(session, url)
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=40, help="of each window: the rarest reading takes 38")
    parser.add_argument("--models", type=int, default=100, help="each has three queues, in all of which jobs wait")
    options = parser.parse_args()
    asyncio.run(run(options.pages, options.seconds, options.models))


if __name__ == "__main__":
    main()
