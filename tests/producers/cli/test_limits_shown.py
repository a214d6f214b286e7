"""A limit of the provider that is reached: each command that explains a wait names it, and the moment of its end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from openfall import AsyncOpenfall, NoModel, Openfall
from openfall.config import LoadedConfig, load
from openfall.router_core.state.external_calls import start_external_call
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.router_core.vocabulary import Urgency
from tests.producers.cli.conftest import Run

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  sky: {protocol: openai, url: "http://127.0.0.1:9", pool: cloud, requests_per_minute: 1,
        api_keys: [sk-aaaaaaaaaaaaaaaaaa, sk-bbbbbbbbbbbbbbbbbb]}
models: {big: {upstream: big-1, backends: [sky]}}
roles: {chat: {chain: [big]}}
"""
REACHED = "its limit of 1 request a minute is reached, free in "


@pytest.fixture
def config_text() -> str:
    return CONFIG


@pytest.fixture
def at_the_limit(config_file: Path, redis_url: str) -> LoadedConfig:
    """A worker that is alive, and both keys of the backend have made their call of this minute."""
    loaded = load(config_file, environ={"REDIS_URL": redis_url})
    queues = tuple(loaded.catalog.queue("big", urgency) for urgency in Urgency)

    async def main() -> None:
        async with AsyncOpenfall(config=loaded) as llm:
            identity = WorkerIdentity("of-cloud-here-1-abc", "cloud", queues, ("sky",), local=False)
            await register(llm.store.connection, identity)
            await WorkerQueue(llm.store.connection, identity, []).beat([])
            for _ in range(2):
                await start_external_call(llm.store.connection, loaded.catalog, "sky", "big")

    asyncio.run(main())
    return loaded


@pytest.mark.usefixtures("at_the_limit")
def test_status_models_resolve_and_job_why_name_the_limit_and_when_it_is_free(openfall: Run) -> None:
    job_id = openfall("enqueue", "-r", "chat", "-u", "batch", stdin="hello").stdout.strip()
    assert f"ig waits: {REACHED}" in " ".join(openfall("status").stdout.split())
    assert json.loads(openfall("status", "--json").stdout)["limits"]["big"].startswith(REACHED)
    (big,) = json.loads(openfall("models", "--json").stdout)
    assert big["at"][0]["why"].startswith(REACHED)
    assert [key.startswith(REACHED) for key in big["at"][0]["keys"]] == [True, True]
    assert REACHED in openfall("resolve", "chat", "-u", "batch").stdout
    candidate = json.loads(openfall("resolve", "chat", "-u", "batch", "--json").stdout)["candidates"][0]
    assert candidate["at"][0]["limited_why"].startswith(REACHED)
    assert REACHED in " ".join(openfall("job", "why", job_id).stdout.split())


def test_a_program_that_calls_by_itself_learns_of_the_limit_before_its_call(at_the_limit: LoadedConfig) -> None:
    with Openfall(config=at_the_limit) as llm, pytest.raises(NoModel, match=f"big: .*{REACHED}"):
        llm.resolve("chat", urgency="interactive")


def test_a_program_that_calls_by_itself_waits_for_a_limit_that_is_soon_free(config_file: Path, redis_url: str) -> None:
    config_file.write_text(CONFIG.replace("requests_per_minute: 1", "requests_per_minute: 600, burst: 0.1%"))
    loaded = load(config_file, environ={"REDIS_URL": redis_url})

    async def main() -> list[float]:
        async with AsyncOpenfall(config=loaded) as llm:
            starts = []
            for _ in range(6):
                model = await llm.resolve("chat", urgency="interactive")
                starts.append(await llm.store.server_time())
                assert model.api_key.startswith("sk-")
            return starts

    starts = asyncio.run(main())
    assert starts[-1] - starts[0] >= 0.19, "two keys, each with a call every 0.1 s"
