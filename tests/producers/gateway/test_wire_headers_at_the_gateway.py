"""The headers that switch on fields of a body reach a provider of the same dialect, and no other header does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openfall import BadRequest, UnknownName
from openfall.producers.job_request import JobRequest, prepare
from openfall.router_core.jobs.request_fingerprint import digest
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, gateway_config, open_gateway, run
from tests.workers.backends.anthropic_calls import MESSAGE

BETAS = "interleaved-thinking-2025-05-14,context-management-2025-06-27"
HEADERS = {"anthropic-version": "2026-10-21", "anthropic-beta": BETAS, "x-api-key": "of_mine", "cookie": "a=b"}
BODY: dict[str, Any] = {"model": "chat", "max_tokens": 9, "temperature": 0.5, **SAY}


def test_an_agents_beta_headers_reach_an_anthropic_backend(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(MESSAGE), protocol="anthropic") as gateway:
            response = await gateway.http.post("/v1/messages?beta=true", json=BODY, headers=HEADERS)
            assert response.status_code == 200
            sent = gateway.upstream.calls_received[0]
        headers = {name.lower(): value for name, value in sent.headers.items()}
        assert (headers["anthropic-version"], headers["anthropic-beta"]) == ("2026-10-21", BETAS)
        assert "cookie" not in headers
        assert headers.get("x-api-key") != "of_mine"
        assert b"temperature" not in sent.body  # that version has no such parameter

    run(main)


def test_a_backend_of_another_dialect_gets_none_of_them(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            await gateway.http.post("/v1/messages", json=BODY, headers=HEADERS)
            sent = gateway.upstream.calls_received[0]
        assert not {"anthropic-version", "anthropic-beta"} & {name.lower() for name in sent.headers}

    run(main)


def test_the_python_client_refuses_a_header_that_no_provider_gets(redis_url: str, tmp_path: Path) -> None:
    loaded = gateway_config(redis_url, tmp_path, "http://127.0.0.1:1")
    request = JobRequest("hello", {"wire_headers": {"anthropic_beta": "x"}})
    with pytest.raises(UnknownName, match="Did you mean 'anthropic-beta'"):
        prepare(loaded, "tester", request)
    with pytest.raises(BadRequest, match="printable ASCII"):
        prepare(loaded, "tester", JobRequest("hello", {"wire_headers": {"openai-beta": "a\nb"}}))


def test_requests_that_differ_in_their_beta_headers_are_different_requests(redis_url: str, tmp_path: Path) -> None:

    loaded = gateway_config(redis_url, tmp_path, "http://127.0.0.1:1")
    digests = {
        digest(prepare(loaded, "tester", JobRequest("hello", {"wire_headers": headers}))[0])
        for headers in ({}, {"openai-beta": "a"}, {"OpenAI-Beta": "a"}, {"openai-beta": "b"})
    }
    assert len(digests) == 3, "the case of a name makes no difference"
