"""What commands say about the models on a graphics card."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall.router_core.state.card_state import CardState, ModelOnCard, Switch, pack_card_state
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.vocabulary import Urgency
from tests.producers.cli.conftest import Run

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}}
backends: {tower: {protocol: ollama, url: "http://127.0.0.1:9", pool: gpu, vram_gb: 16}}
models:
  small: {upstream: smollm2, backends: [tower], context: 2k, vram_gb: 4}
  large: {upstream: qwen3, backends: [tower], context: 2k, vram_gb: 14}
roles: {chat: {chain: [small]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "cards.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as connection:
        yield connection


def keep(store: Any, state: CardState, lease_seconds: float = 60.0) -> None:
    """The state of the card as a manager writes it."""
    store.hset("of:card:tower", mapping={"version": 1, "state": pack_card_state(state)})
    until_ms = int((time.time() + lease_seconds) * 1000)
    store.hset("of:card-manager:gpu", mapping={"worker": "wa", "epoch": 1, "until": until_ms})


async def start_worker(redis_url: str, *models: str) -> None:
    """A worker that serves the queues of these models."""
    queues = tuple(f"gpu.{model}.{urgency}" for model in models for urgency in Urgency)
    who = WorkerIdentity("wa", "gpu", queues, ("tower",))
    async with RedisConnection(redis_url) as link:
        await register(link, who)
        served = [QueueSubscription(queue, (BackendCapacity("tower", 1),)) for queue in queues]
        await WorkerQueue(link, who, served).beat([])


def switching() -> CardState:
    now = time.time()
    switch = Switch("large", "tower", (), now - 100, "large has waited for longest", 30.0)
    return CardState(models={"small": ModelOnCard("tower", now - 7200, 3.5)}, switch=switch)


def states(openfall: Run, config: str) -> dict[str, dict[str, Any]]:
    return {
        model["model"]: model["at"][0] for model in json.loads(openfall("models", "--json", "--config", config).stdout)
    }


def test_models_shows_the_state_that_the_manager_of_a_card_keeps_since_when_and_why(
    openfall: Run, store: Any, config: str
) -> None:
    keep(store, switching())
    shown = states(openfall, config)
    assert (shown["small"]["state"], shown["large"]["state"]) == ("ready", "loading")
    assert shown["large"]["why"] == "large has waited for longest"
    assert shown["large"]["state_seconds"] >= 99
    assert "ready for 2h" in openfall("models", "--config", config).stdout


def test_models_shows_no_state_of_a_card_without_a_manager(openfall: Run, store: Any, config: str) -> None:
    keep(store, switching(), lease_seconds=-1.0)
    assert {at["state"] for at in states(openfall, config).values()} == {"unknown"}


def test_an_embedded_engine_is_ready_with_a_worker_and_never_unknown(
    openfall: Run, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "embedded.yaml"
    backend = '{url: "http://127.0.0.1:1", pool: gpu, embedded: yes, engine: {model: smollm2}}'
    path.write_text(
        f"redis: ${{REDIS_URL:-embedded}}\npools: {{gpu: {{local: yes}}}}\nbackends: {{own: {backend}}}\n"
        "models: {small: {upstream: smollm2, backends: [own], context: 2k}}\nroles: {chat: {chain: [small]}}\n"
    )

    assert states(openfall, str(path))["small"]["state"] == "not_loaded", "no worker runs, so no engine does"
    asyncio.run(start_worker(redis_url, "small"))
    assert states(openfall, str(path))["small"]["state"] == "ready"
