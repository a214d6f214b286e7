"""A worker that lacks file descriptors, memory, ports or threads: no upstream is blamed, and no job is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp.client_reqrep import ConnectionKey

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.fleet_problems import ProblemCode, list_problems
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.held_jobs import HeldSummary
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.workers import slots_in_shortage
from openfall.workers.backends.shortage_errors import describe_shortage
from openfall.workers.execution.executor import Executor
from openfall.workers.slots_in_shortage import Slots, WorkerShortage
from tests.faults import COMPLETION, answer
from tests.worker_harness import healthy_upstream, worker_command

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTORS = 64
JOBS = 120
KEY = ConnectionKey("host", 80, False, True, None, None, None)


@asynccontextmanager
async def short_worker(config: Path) -> AsyncIterator[Path]:
    """A worker process that may open 64 files. Yields its log."""
    log = config.with_name("worker.log")
    command = [
        "sh",
        "-c",
        f'ulimit -n {DESCRIPTORS}; exec "$@"',
        "sh",
        *worker_command("gpu", config, "--slots", "100"),
    ]
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=file, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    try:
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline(), log.read_text()
        yield log
    finally:
        process.kill()
        await process.wait()


def test_a_worker_with_64_descriptors_answers_every_job_and_blames_no_upstream(tmp_path: Path, redis_url: str) -> None:
    async def story() -> None:
        async with healthy_upstream(latency=1.0) as upstream:
            config = tmp_path / "openfall.yaml"
            backend = {"url": upstream.url, "pool": "gpu", "slots": JOBS}
            config.write_text(yaml.safe_dump({
                "redis": redis_url, "data": str(tmp_path / "data"), "backends": {"box": backend},
                "models": {"small": {"upstream": "small", "backends": ["box"]}},
                "roles": {"chat": {"chain": ["small"]}},
            }))  # fmt: skip
            async with short_worker(config) as log, AsyncOpenfall(config=load(config)) as llm:
                jobs = [await llm.submit(f"Haruka waves {number}", role="chat") for number in range(JOBS)]
                problems: set[ProblemCode] = set()
                async with asyncio.timeout(60), RedisConnection(redis_url) as link:
                    results = asyncio.gather(*(llm.wait(job) for job in jobs))
                    while not results.done():
                        status = await fetch_status(link)
                        problems |= {problem.code for problem in list_problems(status, HeldSummary(), 0, ())}
                        await asyncio.sleep(0.05)
                    assert all(result.answered and len(result.attempts) == 1 for result in await results)
                    assert all(breaker.state == "closed" for breaker in await list_breakers(link))
            assert "too many open files: takes" in log.read_text()
            assert ProblemCode.WORKER_SHORT in problems

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "shortage"),
    [
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "x")), "too many open files"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ENFILE, "x")), "too many open files in system"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ENOBUFS, "x")), "no buffer space available"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.EADDRNOTAVAIL, "x")), "cannot assign requested address"),
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "no further thread can be started"),
    ],
)
def test_what_a_process_lacks_is_its_own(error: Exception, shortage: str) -> None:
    assert describe_shortage(error) == shortage


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "x")),
        aiohttp.ClientConnectorError(KEY._replace(host="::1"), OSError(errno.EADDRNOTAVAIL, "no IPv6")),
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "x")),
        aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions")),
        aiohttp.ServerDisconnectedError(),
        RuntimeError("a bug"),
    ],
)
def test_what_an_upstream_or_a_network_lacks_is_not(error: Exception) -> None:
    assert describe_shortage(error) is None


def test_a_worker_in_short_supply_takes_fewer_slots_and_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("openfall.workers.slots_in_shortage.time.monotonic", lambda: now[0])
    slots = Slots(8)
    assert (slots.free(3), slots.state) == (5, "")
    slots.shrink("too many open files", running=7)
    assert (slots.count, slots.free(0)) == (6, 0)
    assert slots.state == "too many open files: takes 6 of 8 slots"
    now[0] += 2.0
    assert slots.free(0) == 6
    slots.shrink("too many open files", running=1)
    assert slots.count == 1
    now[0] += 100.0
    assert (slots.count, slots.state, slots.free(0)) == (8, "", 8)


class ShortExecutor:
    """Lacks something in every call of the model `large`."""

    def __init__(self, executor: Executor, shortage: str) -> None:
        self._executor, self._shortage = executor, shortage
        self.on_cancelled, self.on_error = executor.on_cancelled, executor.on_error
        self.calls = 0

    async def execute(self, delivery: Delivery, *more: Any) -> DeliveryOutcome:
        if delivery.model != "large":
            return await self._executor.execute(delivery, *more)
        self.calls += 1
        raise WorkerShortage(self._shortage)


@pytest.mark.parametrize(
    ("shortage", "is_held"),
    [
        ("out of memory", True),
        ("too many open files", False),
        ("cannot assign requested address", False),
        ("no further thread can be started", False),
    ],
)
def test_only_a_job_that_uses_up_the_memory_each_time_alone_is_held(
    working: Callable[..., None], monkeypatch: pytest.MonkeyPatch, shortage: str, is_held: bool
) -> None:
    monkeypatch.setattr(slots_in_shortage, "PAUSE_SECONDS", 0.01)

    async def story(bench: Any, _: object) -> None:
        short = ShortExecutor(bench.worker.executor, shortage)
        bench.worker.runner.executor = short
        job = await bench.accept("large")

        async def has_fallen() -> bool:
            return (await bench.intake.record(job)).queue == "degrade" or short.calls > 10

        await bench.until(has_fallen)
        assert (await bench.intake.record(job)).queue == ("degrade" if is_held else "gpu.large.background")
        if is_held:
            assert short.calls == 3
            reason, why = await bench.link.command("HMGET", f"of:job:{job}", "fell_for", "fell_why")
            assert (reason, why) == (b"poisoned", b"it used up the memory of its worker 3 times while it ran alone")
            assert (await bench.result(await bench.accept("small"))).answered

    working(story, answer(COMPLETION))


def caused_by(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        caused_by(aiohttp.ClientConnectionError("x"), MemoryError()),
        caused_by(aiohttp.ServerDisconnectedError(), caused_by(ValueError("x"), MemoryError())),
        aiohttp.ClientPayloadError("Response payload is not completed: <TransferEncodingError: 400>. MemoryError()"),
    ],
)
def test_an_error_of_the_http_client_that_a_lack_of_memory_caused_is_the_process_s_own(error: Exception) -> None:
    assert describe_shortage(error) == "out of memory"


@pytest.mark.parametrize(
    "error",
    [
        caused_by(aiohttp.ClientConnectionError("x"), ValueError("MemoryError()")),
        caused_by(
            aiohttp.ClientConnectorError(KEY._replace(host="::1"), OSError(errno.EADDRNOTAVAIL, "no IPv6")),
            OSError(errno.EADDRNOTAVAIL, "no IPv6"),
        ),
        aiohttp.ClientPayloadError("Response payload is not completed: <ContentLengthError: 400>"),
    ],
)
def test_an_error_of_the_http_client_with_another_cause_is_not(error: Exception) -> None:
    assert describe_shortage(error) is None
