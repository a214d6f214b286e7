"""Waiting for a held job returns its interim reply or its final result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from openfall import AsyncOpenfall, Openfall, StillQueued
from openfall.config import LoadedConfig
from openfall.router_core.state import job_events
from openfall.router_core.state.cancellation import keep_cancel
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.vocabulary import HoldReason
from tests.producers.clients import run
from tests.producers.hold_jobs import SORRY, hold_next, submit_held


def test_an_interactive_ask_returns_the_interim_reply(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        asking = asyncio.create_task(llm.ask("hello", urgency="interactive"))
        job_id = await hold_next(llm.store.connection, "gpu.tiny.interactive")
        result = await asking
        assert (result.id, result.text) == (job_id, SORRY)
        assert result.degraded
        assert not result.final
        assert result.held_for is HoldReason.OUTAGE

    run(loaded, use)


@pytest.mark.parametrize(
    ("urgency", "accept_interim", "interim"),
    [
        ("interactive", None, True),
        ("interactive", True, True),
        ("interactive", False, False),
        ("background", None, False),
        ("background", True, True),
        ("batch", None, False),
        ("batch", False, False),
    ],
)
def test_accept_interim_or_else_the_urgency_decides_what_wait_returns(
    loaded: LoadedConfig, urgency: str, accept_interim: bool | None, interim: bool
) -> None:
    (job_id,) = submit_held(loaded, "hello", urgency=urgency)

    async def use(llm: AsyncOpenfall) -> None:
        if interim:
            assert not (await llm.wait(job_id, accept_interim=accept_interim)).final
        else:
            with pytest.raises(StillQueued):
                await llm.wait(job_id, 0.3, accept_interim=accept_interim)

    run(loaded, use)


def test_after_its_release_wait_returns_the_answer(loaded: LoadedConfig, worker_for: Callable[..., Any]) -> None:
    (job_id,) = submit_held(loaded, "hello", urgency="interactive")

    async def use(llm: AsyncOpenfall) -> None:
        assert (await llm.wait(job_id)).text == SORRY
        assert await replay_held(llm.store.connection, job_id) == "queued"
        result = await llm.wait(job_id)
        assert (result.text, result.final, result.degraded) == ("echo hello", True, False)

    with worker_for():
        run(loaded, use)


def test_a_stream_covers_fall_hold_and_release(loaded: LoadedConfig, worker_for: Callable[..., Any]) -> None:
    (job_id,) = submit_held(loaded, "hello", urgency="interactive")

    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        events = []
        async for event in llm.stream(job_id):
            events.append(event)
            if event["event"] == "held":
                assert await replay_held(llm.store.connection, job_id) == "queued"
        return events

    with worker_for():
        events = run(loaded, use)
    names = [event["event"] for event in events if event["event"] != "delta"]
    assert names == ["queued", "started", "fallen", "started", "degraded", "held", "queued", "started", "done"]
    assert events[4]["text"] == SORRY
    assert events[-1]["result"].text == "echo hello"


def test_the_sync_client_takes_accept_interim(loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "hello", urgency="batch")
    with Openfall(config=loaded) as llm:
        assert llm.wait(job_id, accept_interim=True).text == SORRY


def test_a_stream_of_a_held_job_ends_at_its_time_limit(loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "hello", urgency="background")
    names: list[str] = []
    with Openfall(config=loaded) as llm, pytest.raises(StillQueued, match=job_id):
        names.extend(event["event"] for event in llm.stream(job_id, timeout=0.3))
    assert "held" in names


def test_a_time_limit_that_redis_swallows_ends_the_wait_all_the_same() -> None:
    async def swallow() -> None:
        with suppress(asyncio.CancelledError):  # as redis-py does when the end of its write meets the cancel
            await asyncio.Event().wait()

    async def wait() -> None:
        async with asyncio.timeout(0.01):
            with keep_cancel():
                await swallow()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(wait(), 60))


def test_a_stream_says_after_some_seconds_that_no_worker_lives_and_how_to_start_one(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 0.02)

    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        job = await llm.submit("hello", urgency="interactive")
        events = []
        async for event in llm.stream(job):
            events.append(event)
            if event["event"] == "blocked":
                await llm.cancel(job.id)
        return events

    events = run(loaded, use)
    assert [event["event"] for event in events] == ["queued", "blocked", "done"]
    assert "no live worker serves its queue" in events[1]["why"]
    assert "`openfall work gpu`" in events[1]["why"]
