"""The orders of a manager of cards, and who may give any."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.workers.sidecar.harness import running_sidecar, until

SIZES = {"alpha": {"vram_gb": 10}, "beta": {"vram_gb": 10}}


def test_a_load_by_order_displaces_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES, vram_gb=16) as sidecar:
            assert (await sidecar.post("/models/load", {"model": "alpha"}))[0] == 200
            assert (await sidecar.post("/models/load", {"model": "alpha"}))[0] == 200
            status, reply = await sidecar.post("/models/load", {"model": "beta"})
            assert (status, reply["error"]["code"]) == (503, "no_vram")
            assert "needs 10 GB, and does not fit beside alpha" in reply["error"]["message"]
            assert (await sidecar.post("/models/unload", {"model": "alpha"}))[0] == 200
            assert (await sidecar.post("/models/unload", {"model": "alpha"}))[0] == 200
            assert (await sidecar.post("/models/load", {"model": "beta"}))[0] == 200

    asyncio.run(work())


def test_an_order_of_a_manager_that_was_replaced_changes_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES, vram_gb=16) as sidecar:
            await sidecar.post("/models/load", {"model": "alpha", "epoch": 7})
            status, reply = await sidecar.post("/models/unload", {"model": "alpha", "epoch": 6})
            assert (status, reply["error"]["code"]) == (409, "stale_epoch")
            assert (await sidecar.states())["alpha"] == "ready"
            assert (await sidecar.post("/models/unload", {"model": "alpha"}))[0] == 200, "a person may"

    asyncio.run(work())


def test_a_profile_that_crashed_too_often_is_started_again_by_a_person_and_not_by_a_manager(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES, vram_gb=16, restarts=0) as sidecar:
            await sidecar.post("/models/load", {"model": "alpha", "epoch": 1})
            assert await sidecar.ask("alpha", "crash") == (502, "connection")

            async def gave_up() -> bool:
                return (await sidecar.states())["alpha"] == "error"

            await until(gave_up)
            for _ in range(3):
                status, reply = await sidecar.post("/models/load", {"model": "alpha", "epoch": 1})
                assert (status, reply["error"]["code"]) == (503, "load_failed")
                assert "alpha: 1 crashes within 600 s" in reply["error"]["message"]
            assert (await sidecar.post("/models/load", {"model": "beta", "epoch": 1}))[0] == 200, "its memory is free"
            await sidecar.post("/models/unload", {"model": "beta"})
            assert (await sidecar.post("/models/load", {"model": "alpha"}))[0] == 200
            assert (tmp_path / ".openfall/log/profile-alpha.log").read_text().count("starts") == 2

    asyncio.run(work())


def test_an_order_that_cannot_be_read_names_the_fault(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES) as sidecar:
            for body, words in (
                (["alpha"], "must be a JSON object"),
                ({"model": 5}, "`model` must be text"),
                ({"model": "alpha", "epoch": "x"}, "`epoch` must be a whole number"),
            ):
                status, reply = await sidecar.post("/models/load", body)
                assert (status, words in reply["error"]["message"]) == (400, True)
            status, reply = await sidecar.switch("alhpa")
            assert (status, 'Did you mean "alpha"?' in reply["error"]["message"]) == (404, True)
            assert await sidecar.ask("gpt-4") == (404, "model_not_found")
            assert (await sidecar.get("/slots"))[0] == 503

    asyncio.run(work())


def test_a_sidecar_with_a_token_refuses_every_caller_without_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES, token="open sesame") as sidecar:
            assert (await sidecar.get("/models/status"))[0] == 401
            assert (await sidecar.get("/models/status", headers={"authorization": "Bearer other"}))[0] == 401
            assert (await sidecar.get("/models/status", headers={"authorization": "Bearer open sesame"}))[0] == 200
            assert (await sidecar.get("/models/status", headers={"x-api-key": "open sesame"}))[0] == 200
            assert (await sidecar.get("/health"))[0] == 200

    asyncio.run(work())


def test_without_a_token_no_web_page_may_call(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES) as sidecar:
            for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"host": "["}):
                assert (await sidecar.get("/models/status", headers=headers))[0] == 403

    asyncio.run(work())


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_without_a_token_no_picture_of_a_web_page_loads_a_profile(tmp_path: Path, site: str) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES) as sidecar:
            name = next(iter(SIZES))
            assert (await sidecar.get(f"/x.png?model={name}", headers={"sec-fetch-site": site}))[0] == 403
            assert (await sidecar.states())[name] == "not_loaded"
            assert (await sidecar.get("/models/status", headers={"sec-fetch-site": "none"}))[0] == 200

    asyncio.run(work())


def test_a_token_that_is_no_text_is_a_wrong_token(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_sidecar(tmp_path, SIZES, token="open sesame") as sidecar:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rpartition(":")[2]))
            writer.write(b"GET /models/status HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer \xff\xfe\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
            writer.close()

    asyncio.run(work())
