"""Who waits for a job that is held gets what is replied meanwhile, or its end, as they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openfall import AsyncOpenfall, NotFinished, Openfall
from openfall.config import LoadedConfig
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.vocabulary import (
    HoldReason,
)
from tests.producers.parking import SORRY, hold_next, park


def run(loaded: LoadedConfig, use: Callable[[AsyncOpenfall], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        async with AsyncOpenfall(config=loaded) as llm:
            return await asyncio.wait_for(use(llm), 30)

    return asyncio.run(main())


def test_who_asks_for_an_answer_at_once_gets_the_interim_one(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        asked = asyncio.create_task(llm.ask("hello", urgency="interactive"))
        job_id = await hold_next(llm.store.connection, "gpu.tiny.interactive")
        result = await asked
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
def test_what_will_do_is_said_by_final_or_else_by_the_urgency(
    loaded: LoadedConfig, urgency: str, accept_interim: bool | None, interim: bool
) -> None:
    (job_id,) = park(loaded, "hello", urgency=urgency)

    async def use(llm: AsyncOpenfall) -> None:
        if interim:
            assert not (await llm.wait(job_id, accept_interim=accept_interim)).final
        else:
            with pytest.raises(NotFinished):
                await llm.wait(job_id, 0.3, accept_interim=accept_interim)

    run(loaded, use)


def test_after_its_release_the_answer_is_waited_for(loaded: LoadedConfig, worker_for: Callable[..., Any]) -> None:
    (job_id,) = park(loaded, "hello", urgency="interactive")

    async def use(llm: AsyncOpenfall) -> None:
        assert (await llm.wait(job_id)).text == SORRY
        assert await replay_held(llm.store.connection, job_id) == "queued"
        result = await llm.wait(job_id)
        assert (result.text, result.final, result.degraded) == ("echo hello", True, False)

    with worker_for():
        run(loaded, use)


def test_a_story_goes_on_over_fall_hold_and_release_to_its_end(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    (job_id,) = park(loaded, "hello", urgency="interactive")

    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        told = []
        async for event in llm.stream(job_id):
            told.append(event)
            if event["event"] == "held":
                assert await replay_held(llm.store.connection, job_id) == "queued"
        return told

    with worker_for():
        told = run(loaded, use)
    names = [event["event"] for event in told if event["event"] != "delta"]
    assert names == ["queued", "started", "fallen", "started", "degraded", "held", "queued", "started", "done"]
    assert told[4]["text"] == SORRY
    assert told[-1]["result"].text == "echo hello"


def test_the_blocking_client_says_the_same(loaded: LoadedConfig) -> None:
    (job_id,) = park(loaded, "hello", urgency="batch")
    with Openfall(config=loaded) as llm:
        assert llm.wait(job_id, accept_interim=True).text == SORRY
