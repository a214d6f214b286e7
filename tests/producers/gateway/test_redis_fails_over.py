"""A failover loses the last writes under open streams: each caller reads every word once, or that it may send again.

Here the server loses them as a failover does: its data is older, and every connection is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run
from tests.producers.gateway.test_redis_cut_off import counting
from tests.producers.test_lost_events import lose

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": SAY,
    "/v1/messages": {**SAY, "max_tokens": 99},
    "/v1/responses": {"input": "x"},
}


class Stream:
    """One caller of a stream, which is being read. `enough` is set when it has some words."""

    def __init__(self, response: httpx.Response) -> None:
        self.events: list[dict[str, Any]] = []
        self.job, self.enough = response.headers.get("x-openfall-job"), asyncio.Event()
        self.reading = asyncio.create_task(self._read(response))

    async def _read(self, response: httpx.Response) -> None:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                self.events.append(json.loads(line[6:]))
                if len(self.text.split()) > 5:
                    self.enough.set()

    @property
    def text(self) -> str:
        return "".join(map(_text, self.events))


def _text(event: dict[str, Any]) -> str:
    """The text of an event in the form of any API."""
    if "choices" in event:
        return str(event["choices"][0]["delta"].get("content") or "")
    delta = event.get("delta")
    return str(delta.get("text") or "") if isinstance(delta, dict) else str(delta or "")


@asynccontextmanager
async def stream(gateway: RunningGateway, path: str, **more: Any) -> AsyncIterator[Stream]:
    body = {"model": "chat", **REQUESTS[path], "stream": True, **more}
    async with gateway.http.stream("POST", path, json=body) as response:
        yield Stream(response)


def running_job(store: redis.Redis) -> str:
    """The id of the only job."""
    (key,) = store.scan_iter("of:job:*")
    return str(key.decode() if isinstance(key, bytes) else key).removeprefix("of:job:")


def written(store: redis.Redis, job: str) -> int:
    return int(store.hget(f"of:job:{job}", "pieces") or 0)  # type: ignore[arg-type]


async def lose_two_batches(store: redis.Redis) -> tuple[str, int]:
    """Lose them once there are some. The job, and how many it had."""
    job = running_job(store)
    while (before := written(store, job)) < 5:
        await asyncio.sleep(0.01)
    lose(store, job, 2)
    return job, before


@pytest.mark.parametrize("path", REQUESTS)
def test_a_caller_reads_every_word_once_when_the_last_ones_are_lost_in_redis(
    redis_url: str, store: redis.Redis, tmp_path: Path, path: str
) -> None:
    async def main() -> None:
        gate, sent = asyncio.Event(), list[str]()
        async with open_gateway(redis_url, tmp_path, counting(gate, sent)) as gateway, stream(gateway, path) as caller:
            await caller.enough.wait()
            job, before = await lose_two_batches(store)
            while written(store, job) <= before:
                await asyncio.sleep(0.01)
            gate.set()
            await caller.reading
        assert caller.text == "".join(sent)

    run(main)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_stream_whose_job_is_lost_says_that_the_request_may_be_sent_again(
    redis_url: str, store: redis.Redis, tmp_path: Path, path: str
) -> None:
    async def main() -> None:
        scripts = counting(asyncio.Event(), []), answer(COMPLETION)
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            async with stream(gateway, path) as caller:
                await caller.enough.wait()
                job = running_job(store)
                store.delete(*(f"of:{kind}:{job}" for kind in ("job", "prompt", "events")))
                lose(store, "another", 0)
                await caller.reading
            assert "send the request again" in json.dumps(caller.events[-1])
            again = await gateway.http.post(path, json={"model": "chat", **REQUESTS[path]})
        assert "A lantern festival." in again.text

    run(main)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_caller_without_a_stream_whose_job_is_lost_learns_that_it_may_send_again(
    redis_url: str, store: redis.Redis, tmp_path: Path, path: str
) -> None:
    async def main() -> None:
        scripts = stall, answer(COMPLETION)
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            body = {"model": "chat", **REQUESTS[path]}
            waiting = asyncio.create_task(gateway.http.post(path, json=body))
            await gateway.upstream.arrived.wait()
            job = running_job(store)
            store.delete(*(f"of:{kind}:{job}" for kind in ("job", "prompt", "events")))
            lose(store, "another", 0)
            refused = await waiting
            again = await gateway.http.post(path, json=body)
        assert refused.status_code in (503, 529)
        assert refused.headers["x-should-retry"] == "true"
        assert "A lantern festival." in again.text

    run(main)


def test_a_response_of_the_background_is_whole_and_resumed_when_the_last_words_are_lost(
    redis_url: str, store: redis.Redis, tmp_path: Path
) -> None:
    async def main() -> None:
        gate, sent = asyncio.Event(), list[str]()
        async with open_gateway(redis_url, tmp_path, counting(gate, sent)) as gateway:
            async with stream(gateway, "/v1/responses", background=True) as caller:
                await caller.enough.wait()
                caller.reading.cancel()
            last = caller.events[-1]["sequence_number"]
            job, before = await lose_two_batches(store)
            while written(store, job) <= before:
                await asyncio.sleep(0.01)
            gate.set()
            path = f"/v1/responses/resp_{job}?stream=true&starting_after={last}"
            resumed = await gateway.http.get(path)
        events = caller.events + [json.loads(line[6:]) for line in resumed.text.splitlines() if line[:7] == "data: {"]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "".join(map(_text, events)) == "".join(sent)
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "".join(sent)

    run(main)


@pytest.mark.parametrize("after", [50, 10**6])
def test_a_response_that_is_resumed_behind_events_that_are_lost_ends_all_the_same(
    redis_url: str, tmp_path: Path, after: int
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            body = {"model": "chat", "input": "x", "background": True, "stream": True}
            begun = await gateway.http.post("/v1/responses", json=body)
            job = json.loads(begun.text.partition("data: ")[2].partition("\n")[0])["response"]["id"]
            rest = await gateway.http.get(f"/v1/responses/{job}?stream=true&starting_after={after}")
        (event,) = [json.loads(line[6:]) for line in rest.text.splitlines() if line.startswith("data: {")]
        assert (event["type"], event["sequence_number"]) == ("response.completed", after + 1)
        assert event["response"]["output"][0]["content"][0]["text"] == "A lantern festival."

    run(main)
