"""The Python client against a real Valkey and a small worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from openfall import AsyncOpenfall, BadRequest, Openfall, PromptTooLarge, StillQueued
from openfall.config import LoadedConfig
from openfall.producers.job_request import JobRequest, SubmitOptions
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.errors import (
    DeadlinePassed,
    IdempotencyConflict,
    QueueFull,
    StoreUnreachable,
    UnknownJob,
)
from openfall.router_core.state.jobs import Receipt
from openfall.router_core.vocabulary import Urgency
from tests.producers.clients import run


async def poll_states(llm: AsyncOpenfall, job_id: str) -> AsyncIterator[str]:
    """Polls without a subscription: a job with a subscriber keeps its events."""
    for _ in range(1000):
        yield (await llm.record(job_id)).state
        await asyncio.sleep(0.01)


def test_ask_returns_the_answer_with_model_and_reason(loaded: LoadedConfig, answering: Any) -> None:
    result = run(loaded, lambda llm: llm.ask("Haruka waves", role="dialogue"))
    assert result.answered
    assert result.text == "echo Haruka waves"
    assert (result.model, result.backend) == ("tiny", "rack")
    assert result.reason == "role dialogue: tiny first of 2"


def test_options_reach_the_worker(loaded: LoadedConfig, answering: Any) -> None:
    run(loaded, lambda llm: llm.ask("hi", role="tags", urgency="interactive", max_tokens=7, temperature=0.5))
    (job,) = answering.jobs
    assert (job.role, job.chain, str(job.urgency)) == ("tags", ("other",), "interactive")
    assert job.body == {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "temperature": 0.5}


def test_the_default_target_is_the_chat_role(loaded: LoadedConfig, answering: Any) -> None:
    run(loaded, lambda llm: llm.ask([{"role": "user", "content": "hi"}]))
    assert answering.jobs[0].role == "chat"


def test_a_whole_body_names_its_model_and_its_stream(loaded: LoadedConfig, answering: Any) -> None:
    body = {"model": "other", "stream": True, "messages": [{"role": "user", "content": "hi"}], "top_k": 3}
    run(loaded, lambda llm: llm.ask(body))
    (job,) = answering.jobs
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
        ({"prompt": "old"}, {}, BadRequest, "`prompt` is a field of completions"),
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
def test_an_invalid_request_is_refused_with_its_reason(
    loaded: LoadedConfig, prompt: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(loaded, lambda llm: llm.submit(prompt, **options))


def test_one_idempotency_key_is_one_job(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[Receipt]:
        return await asyncio.gather(*(llm.submit("same", idempotency_key="k") for _ in range(20)))

    jobs = run(loaded, use)
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.joined for job in jobs) == 1


def test_one_idempotency_key_for_two_requests_is_a_conflict(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await llm.submit("one", idempotency_key="k")
        await llm.submit("two", idempotency_key="k")

    with pytest.raises(IdempotencyConflict, match="use another key"):
        run(loaded, use)


def test_submit_many_accepts_or_refuses_each_job_on_its_own(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[list[Any], list[Result]]:
        requests = [JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(1200)]
        requests[700] = JobRequest("x", SubmitOptions(role="tagz"))
        answers = await llm.submit_many(requests)
        good = [answer for answer in answers if isinstance(answer, Receipt)]
        return answers, await asyncio.gather(*(llm.wait(job) for job in good[:3]))

    answers, results = run(loaded, use)
    assert len(answers) == 1200
    assert isinstance(answers[700], UnknownName)
    assert sum(isinstance(answer, Receipt) for answer in answers) == 1199
    assert [result.text for result in results] == [f"echo line {n}" for n in range(3)]


def shallow(loaded: LoadedConfig, depth: int) -> LoadedConfig:
    """The same configuration, whose batch queues hold `depth` jobs."""
    policy = loaded.catalog.urgency[Urgency.BATCH].model_copy(update={"max_queued": depth})
    urgency = {**loaded.catalog.urgency, Urgency.BATCH: policy}
    return replace(loaded, catalog=loaded.catalog.model_copy(update={"urgency": urgency}))


def test_a_full_queue_refuses_at_once_and_says_when_to_retry(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> QueueFull:
        await llm.submit("one", role="tags")
        with pytest.raises(
            QueueFull, match=r"gpu\.other\.batch is full: 1 waiting job is before this one, and its maximum is 1 "
        ) as caught:
            await llm.submit("two", role="tags")
        return caught.value

    refused = run(shallow(loaded, 1), use)
    assert (refused.limit, refused.retry_after) == (1, 60)


def test_submit_many_retries_a_full_queue(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[Any]:
        return await llm.submit_many(JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(60))

    assert all(isinstance(answer, Receipt) for answer in run(shallow(loaded, 25), use))


def test_submit_many_returns_queue_full_for_each_job_after_its_retry_time(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[Any]:
        return await llm.submit_many(JobRequest(f"line {n}", SubmitOptions(role="tags")) for n in range(1100))

    answers = run(shallow(loaded, 30), use, retry_for=0.1)
    assert [type(answer) for answer in answers] == [Receipt] * 30 + [QueueFull] * 1070


def test_a_wait_that_ends_while_redis_is_away_says_so(loaded: LoadedConfig) -> None:
    with Openfall("redis://127.0.0.1:1", config=loaded) as llm, pytest.raises(StillQueued) as caught:
        llm.wait("job-000001", timeout=0.05)
    start = "no answer yet, and Redis does not answer. Once it does, job job-000001 continues."
    assert str(caught.value).startswith(start)


def test_a_timeout_has_the_job_id_and_the_job_goes_on(loaded: LoadedConfig, worker_for: Callable[..., Any]) -> None:
    with pytest.raises(StillQueued) as caught:
        run(loaded, lambda llm: llm.ask("later", timeout=0.05))
    job_id = caught.value.job_id
    assert job_id in str(caught.value)
    with worker_for():
        assert run(loaded, lambda llm: llm.wait(job_id)).text == "echo later"


def test_a_stream_has_the_position_the_deltas_and_the_result(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        await llm.submit("first")
        job = await llm.submit("a b", stream=True)
        events = llm.stream(job)
        events_read = [await anext(events)]
        with worker_for():
            return events_read + [event async for event in events]

    events_read = run(loaded, use)
    assert [event["event"] for event in events_read] == ["queued", "started", "delta", "delta", "delta", "done"]
    assert events_read[0]["position"] == 2
    assert "".join(event["text"] for event in events_read if event["event"] == "delta") == "echo a b "
    assert events_read[-1]["result"].text == "echo a b"
    assert [event["cursor"] for event in events_read[:-1]] == [1, 2, 3, 4, 5]


def test_a_stream_resumes_at_a_cursor(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        job = await llm.submit("a b", stream=True)
        all_ = [event async for event in llm.stream(job)]
        return [event async for event in llm.stream(job, cursor=all_[2]["cursor"])]

    assert [event["event"] for event in run(loaded, use)] == ["delta", "delta", "done"]


def test_a_job_without_events_still_streams_its_result(loaded: LoadedConfig, answering: Any) -> None:
    async def use(llm: AsyncOpenfall) -> list[dict[str, Any]]:
        job = await llm.submit("plain")
        async for state in poll_states(llm, job.id):
            if state == "done":
                break
        return [event async for event in llm.stream(job)]

    assert [event["event"] for event in run(loaded, use)] == ["done"]


def test_a_stream_requests_deltas_of_a_job_submitted_without(
    loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    async def use(llm: AsyncOpenfall) -> list[str]:
        events = llm.stream(await llm.submit("a b"))
        events_read = [await anext(events)]
        with worker_for():
            events_read += [event async for event in events]
        return [event["event"] for event in events_read]

    assert "delta" in run(loaded, use)


def test_a_stream_repeats_the_position_when_it_changes(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> list[int]:
        first = await llm.submit("first")
        events = llm.stream(await llm.submit("second"))
        places = [(await anext(events))["position"]]
        await llm.cancel(first.id)
        places.append((await anext(events))["position"])
        await events.aclose()
        return places

    assert run(loaded, use) == [2, 1]


def test_cancel_ends_a_job_once(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[bool, bool, Result]:
        job = await llm.submit("never mind")
        return await llm.cancel(job.id), await llm.cancel(job.id), await llm.wait(job)

    first, second, result = run(loaded, use)
    assert (first, second) == (True, False)
    assert result.status is Status.CANCELLED


def test_a_record_has_the_state_and_the_producer(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[str, int | None, str]:
        job = await llm.submit("here I am", role="dialogue")
        record = await llm.record(job.id)
        return record.state, await llm.store.jobs.position(job.id), record.producer

    assert run(loaded, use, producer="me") == ("queued", 1, "me")


def test_an_unknown_job_id_raises(loaded: LoadedConfig) -> None:
    for ask in (AsyncOpenfall.wait, AsyncOpenfall.result, AsyncOpenfall.record, AsyncOpenfall.cancel):
        with pytest.raises(UnknownJob, match=r"no job nowhere-at-all.* take the beginning of an id"):
            run(loaded, lambda llm, ask=ask: ask(llm, "nowhere-at-all"))


def test_without_redis_submit_raises_after_its_retry_time(loaded: LoadedConfig) -> None:
    with pytest.raises(StoreUnreachable, match="is it running"):
        run(loaded, lambda llm: llm.submit("x"), redis_url="redis://127.0.0.1:1", retry_for=0.3)


def test_submit_and_wait_survive_a_restart_of_redis(server: Any, loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> tuple[str, bool]:
        first = await llm.submit("before")
        waiting = asyncio.create_task(llm.wait(first))
        with redis.Redis.from_url(server.url) as client:
            while not client.client_list(_type="pubsub"):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        second = asyncio.create_task(llm.submit("during"))
        await asyncio.to_thread(server.start)
        accepted = await second
        await llm.cancel(first.id)
        return str((await waiting).status), accepted.joined

    assert run(loaded, use, redis_url=server.url) == ("cancelled", False)


def test_the_sync_client_has_the_same_methods(loaded: LoadedConfig, answering: Any) -> None:
    before = set(threading.enumerate())
    with Openfall(config=loaded) as llm:
        assert llm.ask("hello", timeout="20s").text == "echo hello"
        job = llm.submit("one two", stream=True)
        events_read = list(llm.stream(job))
        assert events_read[-1]["result"].text == "echo one two"
        assert isinstance(llm.submit_many(["a", JobRequest("b")])[1], Receipt)
        assert llm.result(job.id) == llm.wait(job)
        assert llm.record(job.id).state == "done"
        assert llm.cancel(job.id) is False
    with pytest.raises(RuntimeError, match="closed"):
        llm.result(job.id)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "openfall"]


def test_a_stream_may_be_closed_early(loaded: LoadedConfig) -> None:
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
def test_an_invalid_number_is_refused_before_the_job_is_submitted(
    loaded: LoadedConfig, options: dict[str, Any], words: str
) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(BadRequest, match=words):
            await llm.submit("x", **options)

    run(loaded, use)
