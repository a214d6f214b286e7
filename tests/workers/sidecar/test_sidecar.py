"""Profiles start, stop and switch, and requests reach the right one: real HTTP, real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.workers.sidecar.harness import running_sidecar, until

TWO: dict[str, Any] = {"alpha": {"aliases": ["qwen2.5:32b"]}, "beta": {}}


def test_the_sidecar_starts_cold_and_a_request_starts_its_profile(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            _, status = await sidecar.get("/models/status")
            _, health = await sidecar.get("/health")
            _, available = await sidecar.get("/models/available")
            assert (status["state"], status["active"], health["status"]) == ("idle", None, "ok")
            assert [model["name"] for model in available["models"]] == ["alpha", "beta"]
            assert await sidecar.ask("qwen2.5:32b") == (200, "I am alpha")
            assert await sidecar.ask("beta") == (200, "I am beta")
            assert await sidecar.states() == {"alpha": "not_loaded", "beta": "ready"}
            _, listed = await sidecar.get("/v1/models")
            assert [model["status"]["value"] for model in listed["data"]] == ["unloaded", "loaded"]

    asyncio.run(work())


def test_a_switch_answers_when_the_profile_is_ready_and_requests_without_a_model_reach_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            status, reply = await sidecar.post("/models/switch", {"profile": "beta"})
            assert (status, reply["active"]) == (200, "beta")
            assert await sidecar.get("/props?autoload=0&x=a%20b") == (
                200,
                {"data": [{"id": "beta"}], "path": "/props?x=a+b"},
            )
            assert (await sidecar.get("/models/status"))[1]["active"] == "beta"

    asyncio.run(work())


def test_profiles_that_fit_run_beside_each_other_and_the_least_recently_used_leaves(tmp_path: Path) -> None:
    profiles = {"alpha": {"vram_gb": 6}, "beta": {"vram_gb": 6}, "gamma": {"vram_gb": 4}, "whole": {}}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, vram_gb=16) as sidecar:
            for name in ("alpha", "beta", "gamma", "beta", "alpha"):
                assert (await sidecar.ask(name))[0] == 200
            assert [state for state in (await sidecar.states()).values()] == ["ready"] * 3 + ["not_loaded"]
            await sidecar.switch("whole")
            assert (await sidecar.states())["whole"] == "ready"
            assert set(sidecar.switcher.residents) == {"whole"}

    asyncio.run(work())


def test_requests_wait_for_their_switch_and_the_next_one_is_refused(tmp_path: Path) -> None:
    profiles = {"slow": {"flags": {"load-seconds": 30}}, "other": {}}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, max_waiting=2) as sidecar:
            waiting = [asyncio.create_task(sidecar.ask("slow")) for _ in range(2)]

            async def both_wait() -> bool:
                return (await sidecar.get("/models/status"))[1]["queue"]["waiting"] == 2

            await until(both_wait)
            _, status = await sidecar.get("/models/status")
            assert (status["state"], status["switching_to"]) == ("loading", "slow")
            assert await sidecar.ask("slow") == (429, "queue_full")
            refused, reply = await sidecar.switch("other")
            assert (refused, reply["error"]["code"]) == (409, "switching")
            assert await sidecar.ask("slow", query="?autoload=false") == (503, "not_loaded")
            for task in waiting:
                task.cancel()

    asyncio.run(work())


def test_a_request_that_waited_too_long_is_answered_and_the_load_goes_on(tmp_path: Path) -> None:
    profiles = {"slow": {"flags": {"load-seconds": 0.4}}}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, max_wait="50ms") as sidecar:
            assert await sidecar.ask("slow") == (504, "timeout")

            async def is_ready() -> bool:
                return (await sidecar.states())["slow"] == "ready"

            await until(is_ready)
            assert await sidecar.ask("slow") == (200, "I am slow")

    asyncio.run(work())


def test_a_server_that_crashed_too_often_is_not_started_again_and_the_status_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO, restarts=1) as sidecar:
            for crash in range(1, 3):
                assert await sidecar.ask("alpha", "crash") == (502, "connection")

                async def is_restarted(crash: int = crash) -> bool:
                    resident = sidecar.switcher.residents["alpha"]
                    return bool(resident.error) or (resident.restarts == crash and resident.is_ready)

                await until(is_restarted)
            assert await sidecar.ask("alpha") == (503, "load_failed")
            _, status = await sidecar.get("/models/status")
            assert (status["state"], status["active"]) == ("error", None)
            assert "2 crashes within 600 s" in status["models"][0]["error"]
            assert (await sidecar.switch("alpha"))[0] == 200
            assert await sidecar.ask("alpha") == (200, "I am alpha")

    asyncio.run(work())


def test_a_request_during_a_restart_waits_for_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            await sidecar.switch("alpha")
            resident = sidecar.switcher.residents["alpha"]
            os.kill(resident.pid, signal.SIGKILL)

            async def is_noticed() -> bool:
                return resident.restarts == 1

            await until(is_noticed)
            assert await sidecar.ask("alpha") == (200, "I am alpha")

    asyncio.run(work())


@pytest.mark.parametrize(
    ("profile", "code", "words"),
    [
        ({"flags": {"refuse": "cudaMalloc failed: out of memory"}}, "no_vram", "cudaMalloc failed: out of memory"),
        ({"flags": {"wrong": True}}, "load_failed", "unrecognized arguments: --wrong"),
        ({"model": "./missing.gguf"}, "load_failed", "missing.gguf. Correct `model`"),
        ({"command": "no-such-server"}, "load_failed", "no program no-such-server. Install it"),
    ],
    ids=["memory", "a flag", "a file", "a program"],
)
def test_a_profile_that_does_not_load_says_why(tmp_path: Path, profile: dict[str, Any], code: str, words: str) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, {"good": {}, "bad": profile}) as sidecar:
            await sidecar.switch("good")
            status, reply = await sidecar.switch("bad")
            assert (status, reply["error"]["code"]) == (503, code)
            assert words in reply["error"]["message"]
            assert await sidecar.ask("bad") == (503, code), "a request does not start it again at once"
            started = "flags" in profile
            assert (await sidecar.states())["good"] == ("not_loaded" if started else "ready")

    asyncio.run(work())


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    async def work() -> None:
        profiles = {"slow": {"flags": {"load-seconds": 600}}}
        async with running_sidecar(tmp_path, profiles, max_load_time="300ms") as sidecar:
            status, reply = await sidecar.switch("slow")
            assert (status, reply["error"]["code"]) == (504, "timeout")
            assert not sidecar.switcher.residents

    asyncio.run(work())


def test_a_stream_passes_through_and_one_that_breaks_off_has_no_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            body = {"model": "alpha", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
            async with sidecar.http.post(f"{sidecar.url}/v1/chat/completions", json=body) as response:
                assert response.content_type == "text/event-stream"
                assert (await response.text()).endswith("data: [DONE]\n\n")
            body["messages"] = [{"role": "user", "content": "cut"}]
            async with sidecar.http.post(f"{sidecar.url}/v1/chat/completions", json=body) as response:
                with pytest.raises(aiohttp.ClientError):
                    await response.read()

    asyncio.run(work())


def test_a_caller_who_hangs_up_ends_the_call_at_the_server(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            await sidecar.switch("alpha")
            call = asyncio.create_task(sidecar.ask("alpha", "takes 600"))

            async def in_use() -> bool:
                return (await sidecar.states())["alpha"] == "in_use"

            async def is_noticed() -> bool:
                return "hung up" in (tmp_path / ".openfall/log/profile-alpha.log").read_text()

            async def is_ready() -> bool:
                return (await sidecar.states())["alpha"] == "ready"

            await until(in_use)
            call.cancel()
            await until(is_ready)
            await until(is_noticed)

    asyncio.run(work())


def test_a_switch_waits_for_the_calls_of_the_profile_that_leaves(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            await sidecar.switch("alpha")
            call = await sidecar.switcher.reserve("alpha", may_load=False)
            switch = asyncio.create_task(sidecar.switch("beta"))

            async def is_closing() -> bool:
                return (await sidecar.states())["alpha"] == "closing"

            await until(is_closing)
            assert await sidecar.ask("alpha", query="?autoload=false") == (503, "not_loaded")
            call.release()
            assert (await switch)[0] == 200
            assert await sidecar.states() == {"alpha": "not_loaded", "beta": "ready"}

    asyncio.run(work())


def test_a_switch_is_followed_in_events_as_at_the_gateway(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, {"alpha": {}, "bad": {"flags": {"wrong": True}}}) as sidecar:
            texts = []
            for name in ("alpha", "bad"):
                headers = {"accept": "text/event-stream"}
                body = {"model": name}
                async with sidecar.http.post(f"{sidecar.url}/models/switch", json=body, headers=headers) as response:
                    texts.append((await response.text()).splitlines())
            assert (texts[0][0], texts[0][-3]) == ("event: model_switching", "event: ready")
            assert '"active": "alpha"' in texts[0][-2]
            assert texts[1][-3] == "event: failed"
            assert '"from": "alpha"' in texts[1][1]
            await sidecar.switch("alpha")
            async with sidecar.http.post(
                f"{sidecar.url}/models/switch", json={"model": "alpha"}, headers={"accept": "text/event-stream"}
            ) as response:
                assert (await response.text()).startswith("event: ready"), "nothing switches"

    asyncio.run(work())


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_a_request_reaches_the_model_that_its_json_names_whatever_its_content_type_says(
    content_type: str, tmp_path: Path
) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, TWO) as sidecar:
            await sidecar.switch("alpha")
            body = b'{"model": "beta", "messages": [{"role": "user", "content": "hello"}]}'
            url, headers = f"{sidecar.url}/v1/chat/completions", {"content-type": content_type}
            async with sidecar.http.post(url, data=body, headers=headers if content_type else {}) as response:
                assert "I am beta" in await response.text()

    asyncio.run(work())
