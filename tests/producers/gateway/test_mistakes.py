"""The mistakes of a new user, each with its remedy in what her SDK prints."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from openfall.router_core.state.keys import CLIENT_KEYS
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import ASK, anthropic_client, openai_client


async def _error(request: Awaitable[Any]) -> str:
    """What the SDK prints for a request that fails."""
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
        await request
    return str(raised.value)


def test_a_wrong_base_url_gets_the_right_one(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for base in ("/v2", "/V1", "/openai/v1", "/api", "/api/v1", "/v1/chat/completions", "/v1/responses"):
                async with openai_client(gateway, base_url=gateway.url + base) as client:
                    remedy = f"set the base URL to {gateway.url}/v1, so that the path is"
                    if base not in ("/api", "/v1/responses"):  # Ollama's own path, and the one of a Response
                        assert remedy in await _error(client.models.list())
                    for ask in (
                        client.chat.completions.create(model="chat", messages=ASK),
                        client.responses.create(model="chat", input="wave"),
                    ):
                        assert remedy in await _error(ask)
            async with anthropic_client(gateway, base_url=f"{gateway.url}/api") as other:
                printed = await _error(other.messages.create(model="chat", messages=ASK, max_tokens=9))
        assert f"set the base URL to {gateway.url}, so that the path is /v1/messages" in printed

    run(main)


def test_a_client_of_ollama_with_a_wrong_base_url_gets_the_right_one(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for base in ("/v1", "/api", "/openai", "/for/bot/v1", "/v1/v1"):
                for end in ("chat", "generate", "tags", "embed", "show"):
                    response = await gateway.http.post(f"{base}/api/{end}", json={})
                    assert response.status_code == 404
                    remedy = f"set the base URL (OLLAMA_HOST) to {gateway.url}, so that the path is /api/{end}"
                    assert remedy in response.text
                    assert base == "/openai" or isinstance(response.json()["error"], str)

    run(main)


def test_a_name_of_this_machine_that_is_none_gets_those_that_are(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for host in ("0.0.0.0:8309", "host.docker.internal:8309", "evil.example"):
                response = await gateway.http.get("/v1/models", headers={"host": host})
                assert response.status_code == 403
                assert f"as 127.0.0.1 or localhost, not as '{host}'" in response.text

    run(main)


def test_a_wrong_method_body_or_name_gets_its_remedy(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway,
            openai_client(gateway) as client,
        ):

            async def message(method: str, path: str, content: bytes = b"") -> str:
                response = await gateway.http.request(method, path, content=content)
                return str(response.json()["error"]["message"])

            assert "takes POST, not GET: send a POST with a JSON body" in await message("GET", "/v1/chat/completions")
            for content in (b"model=chat", b"{'model': 'chat'}", b"", b'"wave"', b"[]"):
                text = await message("POST", "/v1/chat/completions", content)
                assert 'a JSON object, such as {"model": "auto", ...}' in text
            assert "GET /docs lists all paths" in await _error(client.moderations.create(input="x"))
            near = await _error(client.chat.completions.create(model="chatt", messages=ASK))
            foreign = await _error(client.chat.completions.create(model="gpt-4o", messages=ASK))
        assert "Did you mean 'chat'?" in near
        assert re.search(r"Known: chat, .*GET /v1/models.*`gateway: {aliases: {\"gpt-\*\": auto}}`", foreign)

    run(main)


def test_a_missing_wrong_or_misplaced_key_gets_its_remedy_and_is_not_shown(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            secret = "of_" + "k" * 43
            await add_key(gateway.link, ClientKey(name="bot", digest=digest_of(secret)))
            gateway.instance.keys = await fetch_keys(gateway.link)

            async def message(**headers: str) -> str:
                response = await gateway.http.get("/v1/models", headers=headers)
                assert response.status_code == 401
                return str(response.json()["error"]["message"])

            assert "openfall keys new NAME" in await message()
            assert "Authorization lacks the word `Bearer`" in await message(authorization=secret)
            misplaced = await message(**{"x-goog-api-key": secret})
            unknown = await message(authorization="Bearer of_wrong")
            for sent in (f'Bearer "{secret}"', f"Bearer '{secret}'", f"Bearer Bearer {secret}", f"Bearer KEY={secret}"):
                refused = await message(authorization=sent)
                assert "a key begins with `of_`: send it without quotes" in refused
                assert secret not in refused
        assert "it is in x-goog-api-key): send `Authorization: Bearer of_...`" in misplaced
        assert secret not in misplaced
        assert "`openfall keys list` names the known ones" in unknown

    run(main)


@pytest.mark.parametrize("damage", [("HSET", CLIENT_KEYS, "bot", b"\xff"), ("SET", CLIENT_KEYS, b"garbage")])
def test_a_gateway_whose_keys_cannot_be_read_serves_no_caller_without_one(
    redis_url: str, tmp_path: Path, damage: tuple[Any, ...]
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            assert (await gateway.http.get("/v1/models")).status_code == 200
            await gateway.link.command(*damage)
            for _ in range(2):
                gateway.instance.keys = await fetch_keys(gateway.link)
                for headers in ({}, {"authorization": "Bearer of_any"}):
                    response = await gateway.http.get("/v1/models", headers=headers)
                    assert response.status_code == 401
                    assert "1 key in Redis cannot be read: `openfall keys list` names it" in response.text
                assert (await gateway.http.get("/", headers={"accept": "text/html"})).status_code == 303

    run(main)


def test_a_caller_learns_within_seconds_that_no_worker_runs(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("caller_wait", "event_stream"):
        monkeypatch.setattr(f"openfall.producers.gateway.{module}.NO_WORKER_SECONDS", 0.1)
    monkeypatch.setattr("openfall.producers.gateway.event_stream.HEAD_SECONDS", 0.05)

    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway,
            openai_client(gateway) as client,
            anthropic_client(gateway) as other,
        ):
            whole = await _error(client.chat.completions.create(model="chat", messages=ASK))
            streamed = await _error(client.responses.create(model="chat", input="wave", stream=True))
            third = await _error(other.messages.create(model="chat", messages=ASK, max_tokens=9))
            background = await client.responses.create(model="chat", input="wave", background=True)
        assert all("start one: `openfall up`" in printed for printed in (whole, streamed, third))
        assert background.status == "queued"

    run(main)
