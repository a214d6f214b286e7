"""Callers who leave, and requests that come again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from openfall.producers.gateway import callers
from openfall.router_core.state import keys
from openfall.router_core.state.caller_leases import AwaitedJob
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run


async def _leave(gateway: RunningGateway, **body: Any) -> str:
    """Send a request, and close the connection once its job is in the queue. The id of the job."""
    before = set(await gateway.link.command("ZRANGE", keys.UNFINISHED, 0, -1))
    request = asyncio.create_task(gateway.chat(**body))
    async with asyncio.timeout(60):
        while not (jobs := set(await gateway.link.command("ZRANGE", keys.UNFINISHED, 0, -1)) - before):
            await asyncio.sleep(0.01)
    request.cancel()
    await asyncio.wait([request])
    (job,) = jobs
    return job.decode()


async def _until_let_go(gateway: RunningGateway, job: str) -> None:
    async with asyncio.timeout(60):
        while await gateway.link.command("HEXISTS", keys.RECORD + job, "gateway"):
            await asyncio.sleep(0.01)


def test_a_repeat_of_a_request_whose_caller_left_joins_its_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            job = await _leave(gateway)
            await _until_let_go(gateway, job)
            again = await gateway.http.post(
                "/v1/chat/completions", json={**SAY, "model": "chat", "user": "x"}, headers={"X-Openfall-Wait": "200ms"}
            )
            other = await gateway.http.post(
                "/v1/chat/completions", json={**SAY, "model": "plain"}, headers={"X-Openfall-Wait": "200ms"}
            )
        assert again.headers["x-openfall-job"] == job
        assert other.headers["x-openfall-job"] != job

    run(main)


def test_a_repeat_reads_the_answer_that_came_while_its_caller_was_away(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await answer(COMPLETION)(writer)

        async with open_gateway(redis_url, tmp_path, slow) as gateway:
            job = await _leave(gateway)
            await _until_let_go(gateway, job)
            gate.set()
            await gateway.instance.client.wait(job, 60)
            again = await gateway.chat()
            calls = len(gateway.upstream.calls_received)
            third = await gateway.chat()
        assert again.status_code == 200
        assert (again.headers["x-openfall-job"], again.headers["x-openfall-joined"]) == (job, "true")
        assert "idempotency-replayed" not in again.headers  # it has no such key
        assert calls == 1
        assert third.headers["x-openfall-job"] != job

    run(main)


def test_a_gateway_that_was_killed_on_any_machine_has_no_callers(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "PRESENCE_SECONDS", 600.0)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall, pools=()) as gateway:
            killed = AwaitedJob("job", "gateway-elsewhere-1-a1b2c3", 600)
            async with asyncio.timeout(60):
                assert await gateway.instance.callers.check([killed]) == (("job", killed.gateway_id),)

    run(main)


def test_a_request_that_was_answered_is_a_new_one_after_its_gateway_has_ended(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            first = await gateway.chat()
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            again = await gateway.chat()
        assert first.headers["x-openfall-job"] != again.headers["x-openfall-job"]

    run(main)


def test_two_callers_with_the_same_request_get_a_job_each(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            first, second = await asyncio.gather(gateway.chat(), gateway.chat())
        assert first.headers["x-openfall-job"] != second.headers["x-openfall-job"]

    run(main)


def test_an_interactive_job_ends_when_no_repeat_comes(redis_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("openfall.producers.gateway.caller_wait.LINGER_SECONDS", 0.2)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway:
            job = await _leave(gateway)
            result = await gateway.instance.client.wait(job, 60)
            await asyncio.wait_for(gateway.upstream.left.wait(), 60)
            again = await gateway.http.post(
                "/v1/chat/completions", json={**SAY, "model": "chat"}, headers={"X-Openfall-Wait": "100ms"}
            )
        assert (str(result.status), result.detail) == ("cancelled", "its caller has left")
        assert again.headers["x-openfall-job"] != job

    run(main)


def test_a_background_job_goes_on_without_its_caller(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            job = await _leave(gateway, model="scene")
            await _until_let_go(gateway, job)
            assert await gateway.link.command("ZSCORE", keys.CALLER_LEASES, job) is None
            assert (await gateway.instance.client.record(job)).state == "queued"

    run(main)


def test_a_job_with_an_idempotency_key_is_read_again_under_it(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            own = {"Idempotency-Key": "night-7"}

            async def ask(**more: Any) -> httpx.Response:
                return await gateway.http.post(
                    "/v1/chat/completions", json={**SAY, "model": "chat", **more}, headers=own
                )

            first, again, other = await ask(), await ask(), await ask(temperature=1)
        assert first.headers["x-openfall-job"] == again.headers["x-openfall-job"]
        assert (first.json()["choices"], len(gateway.upstream.calls_received)) == (again.json()["choices"], 1)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_conflict")
        replayed = [each.headers.get("idempotency-replayed") for each in (first, again, other)]
        assert replayed == [None, "true", None]

    run(main)
