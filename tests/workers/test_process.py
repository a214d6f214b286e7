"""Workers as processes, killed for real: what their jobs come to, and what rq's tools see of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from rq.job import Job
from rq.worker import Worker

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.workers.worker import WorkerSettings
from openfall.workers.worker_config import NothingToServe, WorkerConfig, identify
from tests.faults import COMPLETION, answer, fault_server, stall
from tests.worker_harness import pass_leases, worker_command

TREE = Path(__file__).parents[2]


class Fleet:
    """Worker processes on one configuration."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self.home, self.redis_url = home, redis_url
        self.processes: list[subprocess.Popen[bytes]] = []

    def configure(self, upstream: str, **more: Any) -> AsyncOpenfall:
        document = {
            "redis": self.redis_url,
            "data": str(self.home / "data"),
            "backends": {"box": {"url": upstream, "pool": "gpu", "slots": 8}},
            "models": {"small": {"upstream": "small", "backends": ["box"]}},
            "roles": {"chat": {"chain": ["small"]}},
            **more,
        }
        (self.home / "openfall.yaml").write_text(yaml.safe_dump(document))
        return AsyncOpenfall(config=load(self.home / "openfall.yaml"))

    async def start(self, *options: str, pool: str = "gpu", ready: bool = True) -> subprocess.Popen[bytes]:
        argv = worker_command(pool, self.home / "openfall.yaml", *options)
        log = (self.home / f"worker-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(argv, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        log.close()
        self.processes.append(process)
        if ready:
            assert process.stdout is not None
            assert b"ready" in await asyncio.to_thread(process.stdout.readline), self.log()
        return process

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.home.glob("worker-*.log")))

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Iterator[Fleet]:
    own = Fleet(tmp_path, redis_url)
    try:
        yield own
    finally:
        own.end()


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition is still false"
        await asyncio.sleep(0.02)
    return value


def test_rq_sees_a_working_worker_and_its_jobs_as_they_are(fleet, redis_url):
    async def story():
        async with fault_server(stall) as upstream, fleet.configure(upstream.url) as llm:
            process = await fleet.start()
            job = await llm.submit("Haruka waves", role="chat", urgency="interactive")
            await upstream.arrived.wait()
            with redis.Redis.from_url(redis_url) as connection:
                (worker,) = Worker.all(connection=connection)
                assert (worker.pid, worker.get_state()) == (process.pid, "busy")
                assert Job.fetch(job.id, connection, serializer="json").get_status() == "started"
                process.send_signal(signal.SIGTERM)
                await until(lambda: "calls in flight may finish" in fleet.log())
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 60) == 0
                assert Worker.all(connection=connection) == []
                assert Job.fetch(job.id, connection, serializer="json").get_status() == "queued"

    asyncio.run(story())


@pytest.mark.slow
def test_a_killed_workers_job_is_taken_over_when_its_lease_ends_within_ten_seconds(fleet):
    async def story():
        async with fault_server(stall, answer(COMPLETION)) as upstream, fleet.configure(upstream.url) as llm:
            first = await fleet.start()
            job = await llm.submit("Haruka waves", role="chat")
            await upstream.arrived.wait()
            await fleet.start()
            connection = llm.store.connection
            _, ends = await connection.command("ZRANGE", "of:leases:box", 0, -1, "WITHSCORES")
            seconds, _ = await connection.command("TIME")
            assert float(ends) / 1000 - int(seconds) <= LEASE_SECONDS + 1, "the clock of Redis is read in whole seconds"
            first.kill()
            first.wait()
            await pass_leases(connection, first.pid, "box")
            result = await llm.wait(job, 60)
            assert result.answered
            assert len(upstream.calls_received) == 2
            taken_over = [event async for event in llm.stream(job) if event.get("why") == "its worker died"]
            assert str(first.pid) in taken_over[0]["worker"]

    asyncio.run(story())


@pytest.mark.slow
def test_a_job_that_kills_its_workers_alone_is_held_after_the_third_time_and_no_other_with_it(fleet):
    async def story():
        async with fault_server(stall) as upstream, fleet.configure(upstream.url) as llm:
            job = await llm.submit("Haruka waves", role="chat", expires_in="5m")
            for deaths in range(1, 4):
                if deaths == 3:  # as if two more workers had died while they ran it alone
                    await llm.store.connection.command("HSET", f"of:job:{job.id}", "crashes_alone", 2)
                process = await fleet.start()
                await until(lambda count=deaths: len(upstream.calls_received) == count)
                process.kill()
                process.wait()
                await pass_leases(llm.store.connection, process.pid, "box")
            await fleet.start()
            await fleet.start(pool="degrade")
            record = await llm.record(job.id)
            while record.state != "held":
                await asyncio.sleep(0.1)
                record = await llm.record(job.id)
            assert (record.held_for, record.crashes) == ("poisoned", 3)
            with redis.Redis.from_url(fleet.redis_url) as connection:
                assert Job.fetch(job.id, connection, serializer="json").get_status() == "deferred"
                assert connection.zscore("rq:deferred:degrade", job.id)

    asyncio.run(asyncio.wait_for(story(), 300))


@pytest.mark.slow
def test_jobs_survive_the_death_of_valkey_and_answers_are_not_bought_twice(tmp_path, server):
    async def story(own):
        release = asyncio.Event()

        async def wait_then_answer(writer):
            await release.wait()
            await answer(COMPLETION)(writer)

        async with fault_server(wait_then_answer) as upstream, own.configure(upstream.url) as llm:
            process = await own.start()
            job = await llm.submit("Haruka waves", role="chat")
            await upstream.arrived.wait()
            server.kill()
            release.set()
            await until(lambda: list((tmp_path / "data" / "spool").glob("*.json")))
            server.start()
            assert (await llm.wait(job, 60)).answered
            assert len(upstream.calls_received) == 1
            assert process.poll() is None
            await until(lambda: not list((tmp_path / "data" / "spool").glob("*.json")))

    own = Fleet(tmp_path, server.url)
    try:
        asyncio.run(story(own))
    finally:
        own.end()


def test_a_burst_of_several_processes_answers_everything_and_ends(fleet):
    async def story():
        async with fault_server(answer(COMPLETION)) as upstream, fleet.configure(upstream.url) as llm:
            jobs = await llm.submit_many([f"line {number}" for number in range(40)])
            process = await fleet.start("--procs", "2", "--burst", ready=False)
            assert await asyncio.to_thread(process.wait, 60) == 0, fleet.log()
            assert all([(await llm.result(job.id)).answered for job in jobs])

    asyncio.run(story())


def test_a_pool_that_serves_no_model_is_named():
    catalog = Catalog(
        backends={name: Backend(url="http://127.0.0.1:9", pool="gpu") for name in ("here", "idle")},
        models={"small": ModelSpec(upstream="small", backends=("here",))},
    )
    fields = {
        "redis": RedisServer(url="redis://127.0.0.1:1"),
        "catalog": catalog,
        "settings": WorkerSettings(slots=1),
        "spool": Path("spool"),
    }
    assert identify(WorkerConfig(pool="gpu", backend="here", **fields))[0].backends == ("here",)
    with pytest.raises(NothingToServe, match="pool 'gpu' has no model at backend 'idle'"):
        identify(WorkerConfig(pool="gpu", backend="idle", **fields))
    with pytest.raises(NothingToServe, match="pool 'cloud' has no model"):
        identify(WorkerConfig(pool="cloud", **fields))


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["work", "gpuu"], 2, "unknown pool 'gpuu'. Did you mean 'gpu'?"),
        (["work", "gpu", "--slots", "0"], 2, "--slots must be 1 or more"),
        (["work", "gpu", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["work", "gpu"], 3, "Redis does not answer"),
    ],
)
def test_a_users_error_is_one_line_and_an_exit_code(tmp_path, argv, code, message):
    config = Path(TREE / "config" / "demo.yaml")
    ran = subprocess.run(
        [sys.executable, "-m", "openfall.workers", *argv, *([] if "--config" in argv else ["--config", str(config)])],
        cwd=tmp_path,
        env={**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (code, "")
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
