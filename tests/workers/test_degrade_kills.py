"""A degrade worker is killed for real (SIGKILL) at every step: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openfall.router_core.state import keys
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.vocabulary import BreakerState
from tests.gate import Step
from tests.valkey_server import Server
from tests.workers.kill_harness import MODEL, QUEUE, Stage, staged

pytestmark = pytest.mark.slow

FIRST, SECOND = "job-00000001", "job-00000002"

Story = Callable[[Stage], Awaitable[None]]


@pytest.fixture
def on_stage(server: Server, tmp_path: Path) -> Callable[..., None]:
    """Run a story on a stage of its own, whose incidents go to one notifier."""

    def run(story: Story, notifier: str = "discord") -> None:
        async def main() -> None:
            async with staged(server, tmp_path, notifier) as stage:
                await story(stage)

        asyncio.run(main())

    return run


async def held_once(stage: Stage, *jobs: str) -> None:
    """Each of these jobs, and nothing else, is held, and was recorded, counted and reported exactly once."""
    assert set(await stage.store.zrange(keys.RQ_DEFERRED + keys.DEGRADE, 0, -1)) == set(jobs)
    assert set(await stage.store.zrange(keys.HELD + MODEL, 0, -1)) == set(jobs)
    assert await stage.store.llen(keys.RQ_QUEUE + keys.DEGRADE) == 0
    assert await stage.store.zcard(keys.RQ_WIP + keys.DEGRADE) == 0
    assert await stage.falls() == Counter(jobs)
    assert await stage.store.hget(keys.COUNTERS, "held_outage") == str(len(jobs))
    incident = await stage.incident()
    assert (incident["falls"], incident["held"]) == (str(len(jobs)), str(len(jobs)))
    for job in jobs:
        events = await stage.events(job)
        assert (events["fallen"], events["degraded"], events["held"], events["done"]) == (1, 1, 1, 0)
        assert await stage.mailed(job) == {"degraded": 1}


FALLING = {
    "before it claims the job": ("claim", Step.BEFORE, ""),
    "when it has claimed the job, and has not decided": ("claim", Step.AFTER, FIRST),
    "when it has decided, and not settled": ("settle", Step.BEFORE, ""),
    "when it has settled, and does not know": ("settle", Step.AFTER, "settled"),
}


@pytest.mark.parametrize("at", FALLING)
def test_a_job_is_held_once_though_the_degrade_worker_is_killed(on_stage, at):
    async def story(stage: Stage) -> None:
        first = await stage.process()
        stage.gate.close_at(*FALLING[at])
        await stage.fallen(FIRST)
        await stage.at_the_gate()
        await stage.killed(first)
        await stage.worker()
        await stage.until(lambda: stage.is_held(FIRST))
        await held_once(stage, FIRST)
        await stage.fallen(SECOND)
        await stage.until(lambda: stage.is_held(SECOND))
        await held_once(stage, FIRST, SECOND)

    on_stage(story)


POSTING = {
    "when it has taken the notice from the outbox": ("outbox_claim", Step.AFTER, "notice:"),
    "when the notice has its turn, and is not posted": ("notice_admit", Step.AFTER, "go"),
    "when the notice is posted, and not marked": ("outbox_settle", Step.BEFORE, ""),
    "when the notice is marked, and it does not know": ("outbox_settle", Step.AFTER, ""),
}
TWICE = "when the notice is posted, and not marked"
"""No notifier can know that a dispatcher died after the post and before its record: it gets the notice again."""


@pytest.mark.parametrize("at", POSTING)
def test_discord_gets_one_message_of_an_outage_though_the_dispatcher_is_killed(on_stage, at):
    async def story(stage: Stage) -> None:
        await _posted(stage, at, "discord")
        assert len(stage.discord.messages) == (2 if at == TWICE else 1)

    on_stage(story)


@pytest.mark.parametrize("at", POSTING)
def test_a_webhook_gets_one_id_for_an_outage_though_the_dispatcher_is_killed(on_stage, at):
    async def story(stage: Stage) -> None:
        await _posted(stage, at, "webhook")
        began = [hook for hook in stage.hooks if hook[1] == stage.hooks[0][1]]
        assert len(began) == (2 if at == TWICE else 1)
        assert len(set(began)) == 1

    on_stage(story, "webhook")


async def _posted(stage: Stage, at: str, notifier: str) -> None:
    """An outage that the successor of a killed worker reports."""
    first = await stage.process()
    stage.gate.close_at(*POSTING[at])
    await stage.fallen(FIRST)
    await stage.at_the_gate()
    await stage.until(lambda: stage.is_held(FIRST))
    await stage.killed(first)
    await stage.worker()
    await stage.until(lambda: _notified(stage, notifier))
    await held_once(stage, FIRST)


async def _notified(stage: Stage, notifier: str) -> bool:
    """Whether the beginning is reported, and no entry of it waits."""
    waiting = await stage.store.zrange(keys.OUTBOX, 0, -1)
    return f"notified:{notifier}" in await stage.incident() and not any(entry.endswith(":began") for entry in waiting)


def test_a_webhook_that_did_not_answer_a_killed_dispatcher_gets_the_same_id_again(on_stage):
    async def story(stage: Stage) -> None:
        stage.mute = True
        first = await stage.process(gated=False)
        await stage.fallen(FIRST)

        async def posted() -> bool:
            return bool(stage.hooks) and await stage.is_held(FIRST)

        await stage.until(posted)
        await stage.killed(first)
        stage.mute = False
        await stage.worker()
        await stage.until(lambda: _notified(stage, "webhook"))
        await held_once(stage, FIRST)
        began = [hook for hook in stage.hooks if hook[1] == stage.hooks[0][1]]
        assert (len(began), len(set(began))) == (2, 1)

    on_stage(story, "webhook")


RELEASING = {
    "before it releases what is held": ("held_release", Step.BEFORE, ""),
    "when it has released it, and does not know": ("held_release", Step.AFTER, FIRST),
}


@pytest.mark.parametrize("at", RELEASING)
def test_a_held_job_is_released_once_though_the_degrade_worker_is_killed(on_stage, at):
    async def story(stage: Stage) -> None:
        await stage.worker("gpu")
        first = await stage.process()
        await stage.fallen(FIRST)
        await stage.until(lambda: stage.is_held(FIRST))
        stage.gate.close_at(*RELEASING[at])
        await stage.breaker(BreakerState.CLOSED)
        await stage.at_the_gate()
        await stage.killed(first)
        await stage.worker()

        async def done() -> bool:
            return bool(await stage.store.hget(keys.RECORD + FIRST, "state") == "done")

        await stage.until(done)
        await _released_once(stage)

    on_stage(story)


async def _released_once(stage: Stage) -> None:
    """The job was released, called for, and answered, each of them once."""
    assert await stage.store.zrange(keys.RQ_FINISHED + QUEUE, 0, -1) == [FIRST]
    for name in (keys.RELEASED + MODEL, keys.HELD + MODEL, keys.RQ_DEFERRED + keys.DEGRADE):
        assert await stage.store.zcard(name) == 0
    incident = await stage.incident()
    assert (incident["falls"], incident["held"], incident["replayed"]) == ("1", "0", "1")
    events = await stage.events(FIRST)
    assert (events["fallen"], events["queued"], events["started"], events["done"]) == (
        1,
        2,
        2,
        1,
    )  # started: by the degrade worker, by the model's
    assert stage.called == 1
    assert await stage.falls() == {FIRST: 1}
    assert await stage.mailed(FIRST) == {"degraded": 1, "done": 1}


CLOSING = {
    "before it closes the incident": ("incident_close", Step.BEFORE, ""),
    "when it has closed the incident, and does not know": ("incident_close", Step.AFTER, "outage-"),
}


@pytest.mark.parametrize("at", CLOSING)
def test_the_end_of_an_outage_is_reported_once_though_the_degrade_worker_is_killed(on_stage, at):
    async def story(stage: Stage) -> None:
        await stage.worker("gpu")
        first = await stage.process()
        await stage.fallen(FIRST)
        await stage.until(lambda: _notified(stage, "discord"))
        await JobStore(stage.link).cancel(FIRST)
        await stage.breaker(BreakerState.CLOSED)
        stage.gate.close_at(*CLOSING[at])
        await stage.at_the_gate()
        await stage.killed(first)
        await stage.worker()

        async def over() -> bool:
            return bool((await stage.incident())["ended"]) and not await stage.store.zcard(keys.OUTBOX)

        await stage.until(over)
        assert len(stage.discord.messages) == 2
        assert await stage.store.hlen(keys.INCIDENTS) == 0

    on_stage(story)
