"""Repeats of a request that meet its other callers, at this gateway or at another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.gateway import Gateway
from openfall.router_core.state import keys
from openfall.router_core.state.caller_leases import AwaitedJob
from openfall.router_core.state.reap_and_sweep import abandoned_jobs
from tests.faults import COMPLETION, answer, cut_events, events, piece, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run, served

CHAT = "/v1/chat/completions"
BRIEFLY = {"X-Openfall-Wait": "200ms"}


@asynccontextmanager
async def two_gateways(redis_url: str, home: Path, **more: Any) -> AsyncIterator[tuple[RunningGateway, RunningGateway]]:
    """Two gateways of one fleet."""
    async with open_gateway(redis_url, home, answer(COMPLETION), **more) as first:
        gateway = Gateway.of(AsyncOpenfall(config=first.instance.config, retry_for=1.0))
        async with served(gateway) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
            yield first, replace(first, url=url, http=http, instance=gateway)


async def ask(gateway: RunningGateway, **headers: str) -> str:
    """The job of the same request, which is waited for briefly."""
    response = await gateway.http.post(CHAT, json={"model": "chat", **SAY}, headers={**BRIEFLY, **headers})
    return response.headers["x-openfall-job"]


@asynccontextmanager
async def waiting(gateway: RunningGateway) -> AsyncIterator[str]:
    """A caller who waits; its job."""
    before = set(await gateway.link.command("ZRANGE", keys.UNFINISHED, 0, -1))
    request = asyncio.create_task(gateway.chat())
    async with asyncio.timeout(60):
        while not (jobs := set(await gateway.link.command("ZRANGE", keys.UNFINISHED, 0, -1)) - before):
            await asyncio.sleep(0.01)
    try:
        yield jobs.pop().decode()
    finally:
        request.cancel()
        await asyncio.wait([request])


def test_the_same_request_at_another_gateway_while_the_first_caller_waits_is_another_job(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path, pools=()) as (first, second), waiting(first) as job:
            assert await ask(second) != job
            assert await ask(first) != job

    run(main)


def test_each_of_two_repeats_at_once_joins_a_job_of_its_own(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path, pools=()) as (first, second):
            async with waiting(first) as job, waiting(second) as other:
                pass
            repeats = await asyncio.gather(ask(first), ask(second))
        assert set(repeats) == {job, other}

    run(main)


def test_a_repeat_that_arrives_as_the_first_gateway_lets_go_joins_the_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path, pools=()) as (first, second):
            async with waiting(first) as job:
                pass
            assert await ask(second) == job

    run(main)


def test_the_same_question_after_its_answer_is_a_new_job_even_when_its_gateway_is_gone(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path) as (first, second):
            answered = (await first.chat()).headers["x-openfall-job"]
            await first.instance.callers.stop()
            await first.link.command("DEL", keys.GATEWAYS)
            again = (await second.chat()).headers["x-openfall-job"]
        assert again != answered

    run(main)


def test_a_job_of_the_background_whose_id_reached_no_caller_is_joined(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path, pools=()) as (first, second):
            body = {"model": "chat", "input": "x", "background": True}
            sent = (await first.http.post("/v1/responses", json=body)).json()["id"]
            job = sent.removeprefix("resp_")
            first.instance.callers.add(job)
            await first.instance.callers.let_go(job, 15)  # as if the response had reached no caller
            again = (await second.http.post("/v1/responses", json=body)).json()["id"]
            third = (await first.http.post("/v1/responses", json=body)).json()["id"]
        assert again == sent
        assert third != sent

    run(main)


def test_a_gateway_asks_nothing_about_its_own_callers(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_gateways(redis_url, tmp_path, pools=()) as (first, _), waiting(first) as job:
            callers = first.instance.callers
            left = await callers.check(
                [AwaitedJob(job, callers.gateway_id, 3), AwaitedJob("other", callers.gateway_id, 3)]
            )
        assert left == (("other", callers.gateway_id),)

    run(main)


def test_a_repeated_stream_of_a_job_that_started_again_has_the_answer_alone(redis_url: str, tmp_path: Path) -> None:
    again = asyncio.Event()

    async def second_attempt(writer: asyncio.StreamWriter) -> None:
        await again.wait()
        await events(piece(content="A lantern "), piece(content="festival."), piece("stop"))(writer)

    async def main() -> None:
        scripts = (cut_events(piece(content="A lan")), second_attempt)
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            broken = await gateway.chat(stream=True)
            again.set()
            whole = await gateway.chat(stream=True)
        assert '"code":"restarted"' in broken.text
        assert whole.headers["x-openfall-job"] == broken.headers["x-openfall-job"]
        chunks = [json.loads(line[6:]) for line in whole.text.splitlines() if line.startswith("data: {")]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "A lantern festival."
        assert len(gateway.upstream.calls_received) == 2

    run(main)


def test_a_caller_who_waits_although_the_lease_of_its_job_ended_is_to_come_again(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway:
            request = asyncio.create_task(gateway.chat())
            await asyncio.wait_for(gateway.upstream.arrived.wait(), 60)
            (job,) = await gateway.link.command("ZRANGE", keys.CALLER_LEASES, 0, -1)
            await gateway.link.command("ZADD", keys.CALLER_LEASES, 0, job)  # as if the gateway had stood still for 15 s
            response = await request
        assert (response.status_code, response.json()["error"]["code"]) == (503, "gateway_stalled")
        assert response.headers["x-should-retry"] == "true"

    run(main)


def test_an_outage_of_redis_ends_no_job_whose_caller_waits(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway, waiting(gateway) as job:
            await gateway.link.command("ZADD", keys.CALLER_LEASES, 0, job)
            await gateway.link.command("SET", keys.LAST_BEAT, 1)  # no worker could beat
            assert await abandoned_jobs(gateway.link) == []
            assert float(await gateway.link.command("ZSCORE", keys.CALLER_LEASES, job)) > 0
            await gateway.link.command("ZADD", keys.CALLER_LEASES, 0, job)  # and its gateway did not come back
            assert await abandoned_jobs(gateway.link) == [job]

    run(main)
