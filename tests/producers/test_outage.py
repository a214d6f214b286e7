"""An outage as a bot sees it: real worker processes, and an endpoint that fails and recovers."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig, load
from openfall.router_core.catalog.open_fall_policy import KEPT_REPLY
from openfall.router_core.state.held_jobs import list_held
from openfall.router_core.vocabulary import HoldReason
from tests.faults import COMPLETION, answer, fault_server
from tests.worker_harness import worker_command

TREE = Path(__file__).resolve().parents[2]
ANSWER = "A lantern festival."


def configured(home: Path, redis_url: str, upstream: str) -> LoadedConfig:
    document = {
        "redis": redis_url,
        "data": str(home / "data"),
        "backends": {"box": {"url": upstream, "pool": "gpu", "slots": 8}},
        "models": {"small": {"upstream": "small", "backends": ["box"]}},
        "roles": {"chat": {"chain": ["small"]}},
        "retry": {"max_retries": 1, "initial_backoff": "50ms", "max_backoff": "100ms"},
        "urgency": {"interactive": {"start_within": "300ms", "expires_after": "2m"}},
        "breakers": {
            "consecutive_failures": 2,
            "open_for": "2s",
            "open_for_max": "2s",
            "probe_successes": 1,
            "slow_start": "1ms",
        },
    }
    (home / "openfall.yaml").write_text(yaml.safe_dump(document))
    return load(home / "openfall.yaml")


@asynccontextmanager
async def worker(home: Path, pool: str) -> AsyncIterator[None]:
    argv = worker_command(pool, home / "openfall.yaml")
    with (home / f"{pool}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert b"ready" in await asyncio.to_thread(process.stdout.readline), (home / f"{pool}.log").read_text()
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_bot_gets_an_interim_reply_at_once_and_every_answer_after_the_outage(tmp_path: Path, redis_url: str) -> None:
    broken = asyncio.Event()

    async def upstream(writer: asyncio.StreamWriter) -> None:
        response: Any = ({"error": {"message": "no"}}, 503) if broken.is_set() else (COMPLETION, 200)
        await answer(*response)(writer)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(fault_server(upstream))
            loaded = configured(tmp_path, redis_url, served.url)
            llm = await stack.enter_async_context(AsyncOpenfall(config=loaded, producer="bot@host"))
            for pool in ("gpu", "degrade"):
                await stack.enter_async_context(worker(tmp_path, pool))
            inbox = await stack.enter_async_context(aclosing(llm.inbox("bot")))
            broken.set()

            reply = await llm.ask(
                "hello", role="chat", urgency="interactive", inbox="bot", reply_to=["chat", 1], timeout=20
            )
            assert (reply.text, reply.degraded, reply.final) == (KEPT_REPLY, True, False)
            assert reply.held_for is HoldReason.OUTAGE
            first = await anext(inbox)
            assert (first.job_id, first.reply_to, first.text, first.final) == (
                reply.id,
                ["chat", 1],
                KEPT_REPLY,
                False,
            )
            await first.ack()
            other = await llm.submit("me too", role="chat", urgency="interactive", inbox="bot", reply_to=2)
            second = await anext(inbox)
            assert (second.job_id, second.final) == (other.id, False)
            await second.ack()
            while len(jobs := [job async for job in list_held(llm.store.connection)]) < 2:
                await asyncio.sleep(0.05)
            assert {job.release_models for job in jobs} == {("small",)}

            broken.clear()
            got = {}
            for _ in range(2):
                delivery = await anext(inbox)
                got[delivery.job_id] = (delivery.reply_to, delivery.text, delivery.final, delivery.degraded)
                await delivery.ack()
            assert got == {reply.id: (["chat", 1], ANSWER, True, False), other.id: (2, ANSWER, True, False)}
            assert (await llm.wait(reply.id, 60)).text == ANSWER

    asyncio.run(asyncio.wait_for(main(), 180))
