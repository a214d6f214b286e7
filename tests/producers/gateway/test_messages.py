"""Anthropic's messages through the gateway, to a backend that speaks OpenAI's protocol."""

from __future__ import annotations

from pathlib import Path

import anthropic
import pytest

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, open_gateway, run


def test_an_anthropic_client_that_changes_only_its_base_url_reads_an_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", _strict_response_validation=True)
            async with client:
                message = await client.messages.create(model="chat", max_tokens=64, messages=SAY["messages"])  # type: ignore[arg-type]
        assert message.content[0].text == "A lantern festival."  # type: ignore[union-attr]
        assert (message.model, message.stop_reason) == ("chat", "end_turn")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (41, 5)

    run(main)


def test_an_error_has_the_shape_that_the_anthropic_client_reads(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            response = await gateway.http.post("/v1/messages?beta=true", json={"model": "chta", "max_tokens": 1, **SAY})
        body = response.json()
        assert (response.status_code, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")
        assert body["request_id"] == response.headers["request-id"]

    run(main)


def test_the_tokens_of_a_request_are_estimated_without_a_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
            messages = [{"role": "user", "content": [{"type": "text", "text": "x" * 350}, picture]}]
            response = await gateway.http.post(
                "/v1/messages/count_tokens", json={"model": "chat", "messages": messages}
            )
        assert response.json() == {"input_tokens": 1700}
        assert response.headers["x-openfall-estimate"] == "true"

    run(main)


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/responses/input_tokens"])
@pytest.mark.parametrize(("model", "status"), [("chta", 404), ("gpt-9", 404), (3, 400), ("auto", 200), ("tiny", 200)])
def test_tokens_are_estimated_only_for_a_name_that_a_request_may_have(
    redis_url: str, tmp_path: Path, path: str, model: str | int, status: int
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            response = await gateway.http.post(path, json={"model": model, "input": "x", **SAY})
        assert response.status_code == status
        if status == 404:
            kind = "not_found_error" if "messages" in path else "invalid_request_error"
            assert response.json()["error"]["type"] == kind

    run(main)
