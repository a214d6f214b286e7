"""Requests of up to 32 MiB pass the gateway, Redis and a worker whole; the Python client has its own, lower limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from openfall import PromptTooLarge
from openfall.producers.job_request import JobRequest, prepare
from tests.faults import COMPLETION, answer
from tests.producers.gateway import running_gateway
from tests.producers.gateway.running_gateway import gateway_config, open_gateway, run

MIB = 2**20


def body_of(size: int) -> dict[str, Any]:
    """A chat of about that many bytes, without a model."""
    words = "Haruka waves at the crowd. " * 100_000
    return {"messages": [{"role": "user", "content": words} for _ in range(size // (len(words) + 40))]}


def test_a_request_of_32_mib_reaches_the_provider_whole(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        running_gateway, "CONFIG", running_gateway.CONFIG.replace("context: 8192", "context: 100000000")
    )

    async def main() -> None:
        body = body_of(32 * MIB - 2000)
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as opened:
            # No caller waits for it, and no limit of a reply holds: a slow machine takes its time for so much.
            more: dict[str, Any] = {"headers": {"x-openfall-urgency": "background"}, "timeout": 150}
            response = await opened.http.post("/v1/chat/completions", json={"model": "chat", **body}, **more)
            assert response.status_code == 200, response.text[:300]
            sent = orjson.loads(opened.upstream.calls_received[0].body)
            assert sent["messages"] == body["messages"]

    run(main)


def test_the_python_client_has_a_limit_of_its_own(redis_url: str, tmp_path: Path) -> None:
    loaded = gateway_config(redis_url, tmp_path, "http://127.0.0.1:1", "limits: {max_prompt: 1KiB}")
    request = {"model": "chat", "messages": [{"role": "user", "content": "x" * 2000}]}
    with pytest.raises(PromptTooLarge):
        prepare(loaded, "tester", JobRequest(request))
    assert prepare(loaded, "tester", JobRequest(request, max_bytes=4096))
