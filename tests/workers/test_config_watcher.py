"""A worker process follows its configuration file: calls in flight end as they began, new calls use the new file."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from rq.worker import Worker

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from tests.faults import COMPLETION, FaultServer, answer, fault_server
from tests.worker_harness import worker_command

TREE = Path(__file__).parents[2]
IN_FORCE = "the changed configuration is in force"
pytestmark = pytest.mark.slow


class Running:
    """One worker process of pool gpu, its file, and its upstreams `box` and `tower`."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self.home, self.redis_url = home, redis_url
        self.file, self.log_file = home / "openfall.yaml", home / "worker.log"
        self.release = asyncio.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.box: FaultServer
        self.tower: FaultServer

    def write(self, *models: str, **more: Any) -> None:
        """Change the file, as an editor does it: at once. Each model is at its own backend."""
        at = {"small": "box", "large": "tower"}
        places = {"box": self.box.url, "tower": self.tower.url}
        document = {
            "redis": self.redis_url,
            "data": str(self.home / "data"),
            "backends": {at[name]: {"url": places[at[name]], "pool": "gpu", "slots": 8} for name in models},
            "models": {name: {"upstream": name, "backends": [at[name]], "timeout": "60s"} for name in models},
            "workers": {"shutdown_grace": "1s", "slots": 8},
            **more,
        }
        self.write_text(yaml.safe_dump(document))

    def write_text(self, text: str) -> None:
        beside = self.home / "openfall.yaml.new"
        beside.write_text(text)
        beside.rename(self.file)

    async def start(self) -> None:
        argv = worker_command("gpu", self.file)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        assert b"ready" in await asyncio.to_thread(self.process.stdout.readline), self.log

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    async def held_back(self, writer: asyncio.StreamWriter) -> None:
        """An answer that waits until the test releases it."""
        await self.release.wait()
        await answer(COMPLETION)(writer)

    def client(self, file: Path | None = None) -> AsyncOpenfall:
        return AsyncOpenfall(config=load(file or self.file), producer="test")

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, 30)

    def end(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture
def telling(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., None]]:
    """`telling(story)`: run a story beside a worker that begins with the model `small` alone."""
    runs: list[Running] = []

    def run(story: Callable[[Running], Any], *scripts: Any) -> None:
        async def main() -> None:
            own = Running(tmp_path, redis_url)
            runs.append(own)
            async with AsyncExitStack() as stack:
                own.box = await stack.enter_async_context(fault_server(*(scripts or (own.held_back,))))
                own.tower = await stack.enter_async_context(fault_server(answer(COMPLETION)))
                own.write("small")
                await own.start()
                await asyncio.wait_for(story(own), 180)

        asyncio.run(main())

    yield run
    for own in runs:
        own.end()


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition is still false"
        await asyncio.sleep(0.02)
    return value


def test_a_new_model_is_served_while_a_call_that_had_begun_goes_on(telling):
    async def story(own):
        async with own.client() as llm:
            flying = await llm.submit("Haruka waves", model="small")
            await own.box.arrived.wait()
            own.write("small", "large")
            async with own.client() as new:
                # It waits in a queue that no worker drains before the change is taken.
                waiting = await new.submit("Kenji waves", model="large")
                assert (await new.wait(waiting, 30)).backend == "tower"
            await until(lambda: own.log.count(IN_FORCE) == 1)  # the log is written a moment later
            assert await llm.result(flying.id) is None
            assert not own.box.left.is_set()
            own.release.set()
            result = await llm.wait(flying, 30)
            assert (result.answered, len(result.attempts), len(own.box.calls_received)) == (True, 1, 1)
            assert (await llm.record(flying.id)).deliveries == 1
            with redis.Redis.from_url(own.redis_url) as connection:
                await until(lambda: len(Worker.all(connection=connection)) == 1)  # the old shift has left rq's list
            assert own.process.poll() is None

    telling(story)


def test_a_long_call_is_not_cut_though_its_backend_is_gone_from_the_file_and_the_file_changes_again(telling):
    async def story(own):
        async with own.client() as llm:
            flying = await llm.submit("Haruka waves", model="small")
            await own.box.arrived.wait()
            own.write("large")
            await until(lambda: own.log.count(IN_FORCE) == 1)
            own.write("large", retry={"max_retries": 1})
            await until(lambda: own.log.count(IN_FORCE) == 2)
            assert not own.box.left.is_set()
            own.release.set()
            result = await llm.wait(flying, 30)
            assert (result.backend, len(result.attempts), len(own.box.calls_received)) == ("box", 1, 1)

    telling(story)


def test_a_changed_env_file_is_followed_like_a_changed_configuration(telling):
    async def story(own):
        own.write_text(own.file.read_text().replace("upstream: small", "upstream: ${UPSTREAM:-small}"))
        await until(lambda: own.log.count(IN_FORCE) == 1)
        env_file = own.home / ".env"
        env_file.write_text("UPSTREAM=large\n")
        await until(lambda: own.log.count(IN_FORCE) == 2)
        async with own.client() as llm:
            assert (await llm.ask("Haruka waves", model="small", timeout=30)).answered
        assert b'"large"' in own.box.calls_received[-1].body
        env_file.write_text("UPSTREAM=hunter2\nhunter2\n")
        await until(lambda: "stays in force" in own.log)
        assert ".env:2: this line is not of the form NAME=value" in own.log
        assert "hunter2" not in own.log
        env_file.unlink()
        await until(lambda: own.log.count(IN_FORCE) == 3)

    telling(story, answer(COMPLETION))


def test_a_file_that_is_wrong_is_refused_with_all_its_problems_and_the_one_before_stays_in_force(telling):
    async def story(own):
        async with own.client() as llm:
            good = own.file.read_text()
            own.write_text(good.replace("slots: 8", "slotz: 8").replace("small:", "small: {colour: red}\n  smal:"))
            await until(lambda: "stays in force" in own.log)
            assert "openfall.yaml:" in own.log
            assert "slotz" in own.log
            assert "colour" in own.log
            assert "Traceback" not in own.log
            assert IN_FORCE not in own.log
            assert (await llm.ask("Haruka waves", model="small", timeout=30)).answered
            own.file.unlink()
            await until(lambda: own.log.count("stays in force") == 2)
            assert (await llm.ask("Haruka waves again", model="small", timeout=30)).answered
            own.write("small", "large")
            async with own.client() as new:
                assert (await new.ask("Kenji waves", model="large", timeout=30)).backend == "tower"

    telling(story, answer(COMPLETION))


def test_a_file_by_which_the_worker_has_nothing_to_do_is_refused(telling):
    async def story(own):
        async with own.client() as llm:
            text = own.file.read_text().replace("pool: gpu", "pool: cloud")
            own.write_text(text + "pools: {gpu: {local: yes}, cloud: {local: no}}\n")
            await until(lambda: "stays in force" in own.log)
            assert "pool 'gpu' has no model" in own.log
            assert (await llm.ask("Haruka waves", model="small", timeout=30)).answered

    telling(story, answer(COMPLETION))


def test_no_job_is_dropped_or_asked_twice_while_the_file_changes_again_and_again(telling):
    async def story(own):
        async with own.client() as llm:
            jobs = []
            for round_ in range(3):
                own.write("small", "large", retry={"max_retries": round_})
                while own.log.count(IN_FORCE) <= round_:
                    jobs.append(await llm.submit(f"line {len(jobs)}", model="small"))
                    await asyncio.sleep(0.01)
            results = [await llm.wait(job, 30) for job in jobs]
            assert all(result.answered and len(result.attempts) == 1 for result in results)
            assert len(own.box.calls_received) == len(jobs)
            assert {(await llm.record(job.id)).crashes for job in jobs} == {0}

    telling(story, answer(COMPLETION))


def test_a_call_of_before_the_change_has_its_grace_when_the_process_is_to_stop_and_no_more(telling):
    async def story(own):
        async with own.client() as llm:
            flying = await llm.submit("Haruka waves", model="small")
            await own.box.arrived.wait()
            own.write("small", "large")
            await until(lambda: own.log.count(IN_FORCE) == 1)
            own.process.send_signal(signal.SIGTERM)
            assert await own.ended() == 0
            record = await llm.record(flying.id)
            assert (record.state, record.deliveries, record.crashes) == ("queued", 0, 0)

    telling(story)
