"""Echo's API through the gateway, with the shapes that its scripts read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

PATH = "/api/echo/resilient"
TASKS = """
tasks:
  code_generation: {chain: [tiny, other], words: [write, function]}
open_fall: {interactive: [canned_reply, hold]}
"""


async def _query(gateway: RunningGateway, **body: Any) -> httpx.Response:
    return await gateway.http.post(f"{PATH}/query", json={"query": "write a function", **body})


def test_a_query_is_answered_with_the_receipt_that_the_scripts_read(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), more=TASKS) as gateway:
            body = (await _query(gateway, task_type="code_generation", urgency="interactive")).json()
            classified = (await _query(gateway)).json()
        assert (body["response"], body["success"]) == ("A lantern festival.", True)
        assert (body["model_used"], body["fallback_used"], body["attempts"]) == ("tiny", False, 1)
        assert (body["task_type"], body["urgency"]) == ("code_generation", "interactive")
        assert body["tokens"] == {"input": 41, "output": 5}
        assert body["latency_ms"] >= 0
        assert body["selection_reason"]
        assert classified["task_type"] == "code_generation"

    run(main)


def test_a_query_that_takes_longer_is_polled(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), more=TASKS) as gateway:
            queued = await _query(gateway, urgency="batch")
            job = queued.json()
            await gateway.instance.client.wait(job["job_id"], 60)
            polled = await gateway.http.get(job["poll"])
        assert queued.status_code == 202
        assert (polled.status_code, polled.json()["response"]) == (200, "A lantern festival.")

    run(main)


def test_a_query_that_falls_is_answered_with_success_false_and_its_reason(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        refused = answer({"error": {"message": "no such model"}}, 404)
        async with open_gateway(redis_url, tmp_path, refused, more=TASKS) as gateway:
            response = await _query(gateway, model="plain")
        body = response.json()
        assert response.status_code == 200
        assert (body["success"], body["degraded"], body["model_used"]) == (False, True, None)
        assert body["response"].startswith("No model can answer")
        assert "not_installed" in body["error"]

    run(main)


def test_the_two_filters_of_the_scripts_work(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), more=TASKS) as gateway:
            await _query(gateway)
            status = (await gateway.http.get(f"{PATH}/status")).json()
            models = (await gateway.http.get(f"{PATH}/models")).json()
        assert {model["id"] for model in status["models"]} == {"tiny-1", "other-1"}
        assert all(model["state"] in ("loaded", "loading", "unloaded", "error") for model in status["models"])
        assert [circuit for circuit in status["circuits"] if circuit["available"] is False] == []
        assert models["chains"]["code_generation"] == ["tiny-1", "other-1"]
        assert models["models"][0]["available"] is True

    run(main)


def test_a_model_is_checked_and_loaded_by_the_name_of_its_provider(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), more=TASKS) as gateway:
            checked = await gateway.http.post(f"{PATH}/health", json={"model_name": "tiny-1", "force_check": True})
            loaded = await gateway.http.post(f"{PATH}/preload", json={"model_name": "tiny-1"})
            unknown = await gateway.http.post(f"{PATH}/preload", json={"model_name": "qwen"})
        assert (checked.status_code, checked.json()["healthy"]) == (200, True)
        assert loaded.status_code in (200, 202)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")

    run(main)


def test_a_wait_that_ends_leaves_the_job_to_be_polled(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall, more=TASKS) as gateway:
            response = await _query(gateway, wait="200ms")
            polled = await gateway.http.get(response.json()["poll"])
        assert (response.status_code, polled.status_code) == (202, 202)
        assert polled.json()["status"] == "started"

    run(main)
