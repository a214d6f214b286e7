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

from openfall.producers.card_wait_reason import WaitingForCard, describe_card_wait
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.encoders.chat_completion import ChatStream
from openfall.producers.job_event_text import describe_event
from openfall.router_core.state import job_events
from openfall.router_core.state.card_memory import note_card_memory
from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch, pack_card_state
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
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

SMALL = ModelOnCard("tower", 50.0, 3.5)


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
    identity = WorkerIdentity("wa", "gpu", queues, ("tower",))
    async with RedisConnection(redis_url) as link:
        await register(link, identity)
        served = [QueueSubscription(queue, (BackendCapacity("tower", 1),)) for queue in queues]
        await WorkerQueue(link, identity, served).beat([])


def switching() -> CardState:
    now = time.time()
    switch = Switch("large", "tower", (), now - 4 * 3600, "large has waited for longest", 30.0)
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


def submit_large(openfall: Run, config: str) -> str:
    return openfall("enqueue", "-m", "large", "--config", config, stdin="x").stdout.strip()


def test_job_why_and_job_show_say_that_a_job_waits_for_a_model_that_is_not_loaded_and_what_its_card_has(
    openfall: Run, store: Any, redis_url: str, config: str
) -> None:
    asyncio.run(start_worker(redis_url, "small", "large"))
    keep(store, CardState(models={"small": ModelOnCard("tower", time.time(), 3.5)}))
    openfall("enqueue", "-m", "small", "--config", config, stdin="x")
    job_id = submit_large(openfall, config)
    reason = "large is not loaded; card tower has small (1 job waits for it, at least as urgent)"
    assert reason in openfall("job", "why", job_id, "--config", config).stdout
    assert reason in openfall("job", "show", job_id, "--config", config).stdout
    keep(store, switching())
    shown = json.loads(openfall("job", "why", job_id, "--json", "--config", config).stdout)
    assert shown["waits_for"] == "card tower has been loading large for 4h; its loads take about 30 s"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (CardState(), "large is not loaded; card tower has no model in memory"),
        (CardState(models={"large": SMALL}), ""),
        (
            CardState(models={"large": SMALL}, draining=("large",), reason="small is due"),
            "large leaves card tower: small is due",
        ),
        (
            CardState(models={"small": SMALL}, draining=("small",)),
            "large is not loaded; card tower has small (it leaves when its calls have ended)",
        ),
        (
            CardState(models={"small": SMALL}, reason="large waits: small is kept warm for more urgent callers"),
            "large is not loaded; card tower has small (large waits: small is kept warm for more urgent callers)",
        ),
        (
            CardState(switch=Switch("other", "tower", (), 90.0, "", 30.0)),
            "large is not loaded; card tower is loading other",
        ),
        (
            CardState(refused={"large": FailedLoad(130.0, 60.0, "out of memory")}),
            "large is not loaded: its last load failed: out of memory; card tower tries it again in 30 s",
        ),
        (
            CardState(models={"small": SMALL}, starts={"large": ((0.0, 8.0), (150.0, 8.0), None)}),
            "large is not loaded; card tower has small; its manager expects a start in about 58s",
        ),
        (
            CardState(models={"small": SMALL}, starts={"large": (None, None, None)}),
            "large is not loaded; card tower has small; its manager names no time for its load",
        ),
        (
            CardState(models={"small": SMALL}, too_large={"large": (18.0, 11.5)}),
            "large is not loaded; card tower has small; it needs 18.0 GB, and others leave 11.5 GB of the card",
        ),
        (CardState(models={"large": SMALL}, starts={"large": ((0.0, 0.0),) * 3}), ""),
        (
            CardState(models={"large": SMALL}, starts={"large": ((0.0, 0.0), (0.0, 40.0), None)}, reason="b is next"),
            "large takes only more urgent jobs on card tower (b is next); its manager expects a start in about 40s",
        ),
    ],
)  # fmt: skip
def test_why_a_job_waits_for_a_card_says_what_its_manager_keeps(state: CardState, text: str) -> None:
    assert describe_card_wait(WaitingForCard("large", Urgency.BACKGROUND, {}), "tower", state, 100.0) == text


def test_cards_shows_each_card_with_its_models_its_waiting_jobs_what_loads_and_its_manager(
    openfall: Run, store: Any, config: str
) -> None:
    state = switching()
    state.models["small"].gb, state.foreign_gb = 3.5, 0.5
    keep(store, state)
    submit_large(openfall, config)
    shown = openfall("cards", "--config", config).stdout
    memory = ("small ready 3.5 GB for 2h", "large loading for 4h", "? of 16")
    for text in (*memory, "1 large", "has waited for longest", "wa (lease: "):
        assert text in shown
    (card,) = json.loads(openfall("cards", "--json", "--config", config).stdout)
    models = [(model["model"], model["state"]) for model in card["models"]]
    assert models == [("small", "ready"), ("large", "loading")]
    assert (card["manager"], card["waiting"]) == ("wa", {"small": 0, "large": 1})


def test_cards_says_nothing_of_the_memory_of_a_card_without_a_manager(openfall: Run, store: Any, config: str) -> None:
    keep(store, switching(), lease_seconds=-1.0)
    (card,) = json.loads(openfall("cards", "--json", "--config", config).stdout)
    assert (card["manager"], card["models"], card["reason"]) == (None, [], "")
    assert "no worker" in openfall("cards", "--config", config).stdout


@pytest.mark.parametrize(("span", "peaks"), [("10m", [14.0]), ("24h", [14.0]), ("30d", [14.0])])
def test_cards_shows_the_memory_over_time(
    openfall: Run, redis_url: str, config: str, span: str, peaks: list[float]
) -> None:
    async def note() -> None:
        async with RedisConnection(redis_url) as link:
            await note_card_memory(link, "tower", 12.0, 2.0, 24.0)

    asyncio.run(note())
    (card,) = json.loads(openfall("cards", "--memory", "--since", span, "--json", "--config", config).stdout)
    assert [use["peak_gb"] for use in card["memory"]] == peaks
    assert [(use["models_gb"], use["others_gb"], use["total_gb"]) for use in card["memory"]] == [(12.0, 2.0, 24.0)]
    text = openfall("cards", "--memory", "--since", span, "--config", config).stdout
    assert "tower" in text
    assert "12.0" in text
    (plain,) = json.loads(openfall("cards", "--json", "--config", config).stdout)
    assert "memory" not in plain


def test_a_time_that_cannot_be_read_is_refused(openfall: Run, config: str) -> None:
    result = openfall("cards", "--memory", "--since", "long", "--config", config)
    assert result.returncode == 2
    assert "long" in result.stderr


def test_a_stream_says_what_its_card_does_and_when_the_job_could_start(
    openfall: Run, store: Any, redis_url: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 0.02)
    asyncio.run(start_worker(redis_url, "small", "large"))
    waits = CardState(models={"small": SMALL}, starts={"large": ((0.0, 40.0), (0.0, 60.0), None)})
    keep(store, waits)
    job_id = submit_large(openfall, config)

    async def follow() -> list[dict[str, Any]]:
        events = []
        async with AsyncOpenfall(redis_url=redis_url, config=Path(config)) as llm:
            async for event in llm.stream(job_id):
                events.append(event)
                if event["event"] == "waiting_for_model":
                    keep(store, switching())
                elif event["event"] == "model_switching":
                    await llm.cancel(job_id)
        return events

    queued, waiting, loading, done = asyncio.run(follow())
    assert (queued["event"], done["event"]) == ("queued", "done")
    assert (waiting["model"], waiting["card"], waiting["eta_seconds"]) == ("large", "tower", 60)
    assert "card tower has small; its manager expects a start in about 60s" in waiting["why"]
    assert (loading["event"], loading["model"], loading["from"], loading["eta_seconds"]) == (
        "model_switching", "large", [], 0,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["waiting_for_model", "model_switching"])
def test_a_caller_at_the_gateway_or_the_command_line_sees_the_model_and_the_time(name: str) -> None:
    event = {"event": name, "model": "large", "card": "tower", "eta_seconds": 12, "why": "b has it", "cursor": 3}
    assert describe_event(event) == "waits: b has it"
    chunk = ChatStream("job-1", "large", 0).progress(event)
    assert chunk.startswith(b"event: model_switching\n")
    assert json.loads(chunk.partition(b"data: ")[2])["openfall"] == {
        "event": name, "model": "large", "card": "tower", "eta_seconds": 12, "why": "b has it",
    }  # fmt: skip


def test_a_job_that_is_put_back_says_so_in_words() -> None:
    text = describe_event({"event": "put_back", "at": 1, "why": "beta is wanted by an interactive caller"})
    assert text == "its call was stopped: beta is wanted by an interactive caller; it waits again"
