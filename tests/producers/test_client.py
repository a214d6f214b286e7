"""The Python client against a real Valkey and a small worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from openfall import (
    AsyncOpenfall,
    BadRequest,
    NotFinished,
    Openfall,
    PromptTooLarge,
)
from openfall.config import LoadedConfig
from openfall.producers.request import JobRequest, SubmitOptions
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.errors import (
    DeadlinePassed,
    IdempotencyConflict,
    QueueFull,
    StoreUnreachable,
    UnknownJob,
)
from openfall.router_core.state.jobs import Receipt
from openfall.router_core.vocabulary import (
    Urgency,
)


def run(loaded: LoadedConfig, use: Callable[[AsyncOpenfall], Coroutine[Any, Any, Any]], **told: Any) -> Any:
    async def main() -> Any:
        async with AsyncOpenfall(config=loaded, **told) as llm:
            return await asyncio.wait_for(use(llm), 30)

    return asyncio.run(main())


async def states_of(llm: AsyncOpenfall, job_id: str) -> AsyncIterator[str]:
    """Looks without listening: a job that somebody listens to keeps its events."""
    for _ in range(1000):
        yield (await llm.record(job_id)).state
        await asyncio.sleep(0.01)


def test_an_answer_comes_back_with_its_story(loaded: LoadedConfig, answering: Any) -> None:
    result = run(loaded, lambda llm: llm.ask("Haruka waves", role="dialogue"))
    assert result.answered
    assert result.text == "echo Haruka waves"
    assert (result.model, result.backend) == ("tiny", "here")
    assert result.reason == "role dialogue: tiny first of 2"


def test_what_is_said_beside_the_prompt_reaches_the_worker(loaded: LoadedConfig, answering: Any) -> None:
    run(loaded, lambda llm: llm.ask("hi", role="tags", urgency="interactive", max_tokens=7, temperature=0.5))
    (job,) = answering.asked
    assert (job.role, job.chain, str(job.urgency)) == ("tags", ("other",), "interactive")
    assert job.body == {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "temperature": 0.5}


def test_without_a_target_the_chat_role_is_asked(loaded: LoadedConfig, answering: Any) -> None:
    run(loaded, lambda llm: llm.ask([{"role": "user", "content": "hi"}]))
    assert answering.asked[0].role == "chat"


def test_a_whole_body_names_its_own_model_and_its_stream(loaded: LoadedConfig, answering: Any) -> None:
    body = {"model": "other", "stream": True, "messages": [{"role": "user", "content": "hi"}], "top_k": 3}
    run(loaded, lambda llm: llm.ask(body))
    (job,) = answering.asked
    assert job.chain == ("other",)
    assert job.stream
    assert job.body == {"messages": [{"role": "user", "content": "hi"}], "top_k": 3}


def test_a_failed_job_is_a_result_not_an_exception(loaded: LoadedConfig, answering: Any) -> None:
    result = run(loaded, lambda llm: llm.ask("fail: bad_request"))
    assert result.status is Status.FAILED
    assert result.detail == "it was asked to"


@pytest.mark.parametrize(
    ("prompt", "options", "error", "words"),
    [
        ("  ", {}, BadRequest, "the prompt is empty"),
        ([], {}, BadRequest, "non-empty list"),
        ({"prompt": "old"}, {}, BadRequest, "non-empty list"),
        (["hello"], {}, BadRequest, r"messages\[0\] must be an object"),
        ([{"content": "x"}], {}, BadRequest, r"messages\[0\] has no role"),
        ([{"role": "user"}], {}, BadRequest, r"messages\[0\] has no content"),
        ("x", {"role": "chat", "model": "tiny"}, BadRequest, "not both"),
        ("x", {"expires_in": 5, "deadline": 5}, BadRequest, "not both"),
        ("x", {"expires_in": "soon"}, BadRequest, "not a duration: 'soon'"),
        ("x", {"deadline": datetime(2027, 1, 1)}, BadRequest, "no time zone"),
        ("x", {"id": "a b"}, BadRequest, "8 to 64"),
        ("x", {"idempotency_key": ""}, BadRequest, "1 to 256"),
        ({"messages": [{"role": "user", "content": "x"}], "odd": object()}, {}, BadRequest, "as JSON"),
        ({"messages": [{"role": "user", "content": "x"}], "model": 7}, {}, BadRequest, "must be text"),
        ("x", {"role": "dialog"}, UnknownName, "Did you mean 'dialogue'"),
        ("x", {"model": "tiy"}, UnknownName, "Did you mean 'tiny'"),
        ("x", {"urgency": "bach"}, UnknownName, "Did you mean 'batch'"),
        ("x" * 70_000, {}, PromptTooLarge, "more than the 64,000 allowed"),
        ("x", {"deadline": datetime(2020, 1, 1, tzinfo=UTC)}, DeadlinePassed, "the server's clock says"),
    ],
)
def test_what_cannot_be_put_in_is_refused_in_words(
    loaded: LoadedConfig, prompt: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(loaded, lambda llm: llm.submit(prompt, **options))


def test_one_key_is_one_job(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[Receipt]:
        return await asyncio.gather(*(llm.submit("same", idempotency_key="k") for _ in range(20)))

    jobs = run(loaded, use)
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.joined for job in jobs) == 1


def test_one_key_for_two_requests_is_told(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await llm.submit("one", idempotency_key="k")
        await llm.submit("two", idempotency_key="k")

    with pytest.raises(IdempotencyConflict, match="use another key"):
        run(loaded, use)


def test_many_are_accepted_or_refused_each_by_itself(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[list[Any], list[Result]]:
        asks = [JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(1200)]
        asks[700] = JobRequest("x", SubmitOptions(role="tagz"))
        answers = await llm.submit_many(asks)
        good = [answer for answer in answers if isinstance(answer, Receipt)]
        return answers, await asyncio.gather(*(llm.wait(job) for job in good[:3]))

    answers, results = run(loaded, use)
    assert len(answers) == 1200
    assert isinstance(answers[700], UnknownName)
    assert sum(isinstance(answer, Receipt) for answer in answers) == 1199
    assert [result.text for result in results] == [f"echo line {n}" for n in range(3)]


def shallow(loaded: LoadedConfig, depth: int) -> LoadedConfig:
    """The same configuration, whose batch queues hold so many jobs."""
    policy = loaded.catalog.urgency[Urgency.BATCH].model_copy(update={"max_queued": depth})
    urgency = {**loaded.catalog.urgency, Urgency.BATCH: policy}
    return replace(loaded, catalog=loaded.catalog.model_copy(update={"urgency": urgency}))


def test_a_full_queue_is_told_at_once_with_when_to_try_again(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> QueueFull:
        await llm.submit("one", role="tags")
        with pytest.raises(QueueFull, match=r"gpu\.other\.batch is full: .* 1 ") as caught:
            await llm.submit("two", role="tags")
        return caught.value

    refused = run(shallow(loaded, 1), use)
    assert (refused.limit, refused.retry_after) == (1, 60)


def test_many_jobs_wait_for_room_within_their_patience(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[Any]:
        return await llm.submit_many(JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(60))

    assert all(isinstance(answer, Receipt) for answer in run(shallow(loaded, 25), use))


def test_who_found_no_room_in_that_time_is_told_so_one_by_one(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[Any]:
        return await llm.submit_many(JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(1100))

    answers = run(shallow(loaded, 30), use, retry_for=0.1)
    assert [type(answer) for answer in answers] == [Receipt] * 30 + [QueueFull] * 1070


def test_who_waits_too_short_learns_the_id_and_the_job_goes_on(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    with pytest.raises(NotFinished) as told:
        run(loaded, lambda llm: llm.ask("later", timeout=0.05))
    job_id = told.value.job_id
    assert job_id in str(told.value)
    with worker_for():
        assert run(loaded, lambda llm: llm.wait(job_id)).text == "echo later"


def test_a_stream_tells_the_place_the_pieces_and_the_result(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        await llm.submit("first")
        job = await llm.submit("a b", stream=True)
        events = llm.stream(job)
        told = [await anext(events)]
        with worker_for():
            return told + [event async for event in events]

    told = run(loaded, use)
    assert [event["event"] for event in told] == ["queued", "started", "delta", "delta", "delta", "done"]
    assert told[0]["position"] == 2
    assert "".join(event["text"] for event in told if event["event"] == "delta") == "echo a b "
    assert told[-1]["result"].text == "echo a b"
    assert [event["cursor"] for event in told[:-1]] == [1, 2, 3, 4, 5]


def test_a_stream_goes_on_from_a_cursor(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        job = await llm.submit("a b", stream=True)
        all_ = [event async for event in llm.stream(job)]
        return [event async for event in llm.stream(job, cursor=all_[2]["cursor"])]

    assert [event["event"] for event in run(loaded, use)] == ["delta", "delta", "done"]


def test_a_job_whose_events_are_gone_still_tells_its_end(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        job = await llm.submit("plain")
        async for state in states_of(llm, job.id):
            if state == "done":
                break
        return [event async for event in llm.stream(job)]

    assert [event["event"] for event in run(loaded, use)] == ["done"]


def test_a_job_that_was_not_put_in_as_a_stream_streams_for_who_watches(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    async def use(llm: AsyncOpenfall) -> list[str]:
        events = llm.stream(await llm.submit("a b"))
        told = [await anext(events)]
        with worker_for():
            told += [event async for event in events]
        return [event["event"] for event in told]

    assert "delta" in run(loaded, use)


def test_a_place_that_moves_up_is_told_again(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[int]:
        first = await llm.submit("first")
        events = llm.stream(await llm.submit("second"))
        places = [(await anext(events))["position"]]
        await llm.cancel(first.id)
        places.append((await anext(events))["position"])
        await events.aclose()
        return places

    assert run(loaded, use) == [2, 1]


def test_a_cancelled_job_ends_as_cancelled_and_only_once(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[bool, bool, Result]:
        job = await llm.submit("never mind")
        return await llm.cancel(job.id), await llm.cancel(job.id), await llm.wait(job)

    first, second, result = run(loaded, use)
    assert (first, second) == (True, False)
    assert result.status is Status.CANCELLED


def test_a_record_and_a_place_are_told_by_id(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[str, int | None, str]:
        job = await llm.submit("here I am", role="dialogue")
        record = await llm.record(job.id)
        return record.state, await llm.store.jobs.position(job.id), record.producer

    assert run(loaded, use, producer="me") == ("queued", 1, "me")


def test_an_unknown_id_is_told(loaded: LoadedConfig) -> None:
    for ask in (AsyncOpenfall.wait, AsyncOpenfall.result, AsyncOpenfall.record, AsyncOpenfall.cancel):
        with pytest.raises(UnknownJob, match="no job nowhere-at-all"):
            run(loaded, lambda llm, ask=ask: ask(llm, "nowhere-at-all"))


def test_no_redis_fails_loudly_after_its_patience(loaded: LoadedConfig) -> None:
    with pytest.raises(StoreUnreachable, match="is it running"):
        run(loaded, lambda llm: llm.submit("x"), redis_url="redis://127.0.0.1:1", retry_for=0.3)


def test_a_restart_of_redis_is_borne_by_who_submits_and_by_who_waits(server: Any, loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[str, bool]:
        first = await llm.submit("before")
        waiting = asyncio.create_task(llm.wait(first))
        await asyncio.sleep(1.1)  # what was accepted is on disk within a second: appendfsync everysec
        await asyncio.to_thread(server.kill)
        second = asyncio.create_task(llm.submit("during"))
        await asyncio.to_thread(server.start)
        accepted = await second
        await llm.cancel(first.id)
        return str((await waiting).status), accepted.joined

    assert run(loaded, use, redis_url=server.url) == ("cancelled", False)


def test_the_blocking_client_does_the_same(loaded: LoadedConfig, answering: Any) -> None:
    with Openfall(config=loaded) as llm:
        assert llm.ask("hello", timeout="20s").text == "echo hello"
        job = llm.submit("one two", stream=True)
        told = list(llm.stream(job))
        assert told[-1]["result"].text == "echo one two"
        assert isinstance(llm.submit_many(["a", JobRequest("b")])[1], Receipt)
        assert llm.result(job.id) == llm.wait(job)
        assert llm.record(job.id).state == "done"
        assert llm.cancel(job.id) is False
    with pytest.raises(RuntimeError, match="closed"):
        llm.result(job.id)
    assert not [thread for thread in threading.enumerate() if thread.name == "openfall"]


def test_a_stream_may_be_left_early(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> str:
        async for event in llm.stream(await llm.submit("x")):
            return str(event["event"])
        return "nothing"

    assert run(loaded, use) == "queued"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline": float("nan")}, "not a moment"),
        ({"deadline": 1e400}, "not a moment"),
        ({"deadline": 99999999999999}, "not a moment"),
        ({"temperature": float("nan")}, "`temperature` must be a number"),
        ({"max_tokens": -5}, "`max_tokens` must be 1 or more"),
    ],
)
def test_a_number_that_is_none_is_refused_before_anything_is_put_in(
    loaded: LoadedConfig, options: dict[str, Any], words: str
) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(BadRequest, match=words):
            await llm.submit("x", **options)

    run(loaded, use)
