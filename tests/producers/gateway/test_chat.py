"""Chat completions through the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai

from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, open_gateway, run


def test_an_openai_client_that_changes_only_its_base_url_reads_an_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", _strict_response_validation=True)
            async with client:
                completion = await client.chat.completions.create(model="chat", messages=SAY["messages"])  # type: ignore[call-overload]
        assert completion.choices[0].message.content == "A lantern festival."
        assert completion.model == "chat"
        assert completion.id.startswith("chatcmpl-")
        assert completion.model_extra["openfall"]["model_used"] == "tiny"

    run(main)


def test_the_receipt_of_an_answer_stands_in_its_headers_and_its_body(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            response = await gateway.chat()
        receipt = response.json()["openfall"]
        assert response.headers["x-openfall-model"] == receipt["model_used"] == "tiny"
        assert response.headers["x-openfall-job"] == receipt["job"]
        assert response.headers["x-openfall-reason"] == receipt["selection_reason"]
        assert (receipt["attempts"], receipt["final"], receipt["degraded"]) == (1, True, False)

    run(main)


def test_a_model_name_that_means_nothing_is_a_404_that_names_the_nearest(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            response = await gateway.chat(model="chta")
        assert response.status_code == 404
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "Did you mean 'chat'?" in error["message"]

    run(main)


def test_a_caller_whose_wait_ends_reads_that_its_job_goes_on(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway:
            response = await gateway.http.post(
                "/v1/chat/completions", json={"model": "chat", **SAY}, headers={"X-Openfall-Wait": "300ms"}
            )
            record = await gateway.instance.client.record(response.headers["x-openfall-job"])
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "still_queued"
        assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("1", "true")
        assert record.result is None

    run(main)


def test_a_body_that_is_no_json_object_is_a_400_with_words(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for content, words in ((b"", "is empty"), (b"{", "is not JSON"), (b"[]", "must be a JSON object")):
                response = await gateway.http.post("/v1/chat/completions", content=content)
                assert response.status_code == 400
                assert words in response.json()["error"]["message"]

    run(main)


def test_the_urgency_of_a_request_comes_from_the_first_that_names_one(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:

            async def urgency(path: str = "/v1", headers: dict[str, str] | None = None, **body: object) -> str:
                response = await gateway.http.post(
                    f"{path}/chat/completions", json={"model": "plain", **SAY, **body}, headers=headers
                )
                job = (await gateway.instance.client.record(response.json()["openfall"]["job"])).queue
                return job.rpartition(".")[2]

            assert await urgency() == "interactive"
            assert await urgency(model="scene") == "background"
            assert await urgency("/in/batch/v1") == "batch"
            assert await urgency("/in/batch/v1", model="plain@background") == "background"
            assert await urgency(model="plain@background", service_tier="flex") == "batch"
            assert await urgency(headers={"X-Openfall-Urgency": "background"}, service_tier="flex") == "background"

    run(main)


def test_a_gateway_with_a_key_refuses_every_caller_without_it(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            key = ClientKey(name="discord", digest=digest_of("of_secret"), names=("chat",), group="night")
            assert await add_key(gateway.link, key)
            gateway.instance.keys = await fetch_keys(gateway.link)
            without = await gateway.chat()
            gateway.http.headers["authorization"] = "Bearer of_wrong"
            wrong = await gateway.chat()
            gateway.http.headers["authorization"] = "Bearer of_secret"
            right, other_name = await asyncio.gather(gateway.chat(), gateway.chat(model="scene"))
            record = await gateway.instance.client.record(right.json()["openfall"]["job"])
        assert (without.status_code, wrong.status_code) == (401, 401)
        assert "of_wrong" not in wrong.text
        assert right.status_code == 200
        assert record.producer == "discord"
        assert other_name.status_code == 403
        assert "scene" in other_name.json()["error"]["message"]

    run(main)


def test_a_web_page_does_not_reach_a_gateway_on_loopback(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            rebound = await gateway.http.get("/v1/models", headers={"host": "evil.example:8309"})
            foreign = await gateway.http.get("/v1/models", headers={"origin": "https://evil.example"})
            own = await gateway.http.get("/v1/models")
        assert (rebound.status_code, foreign.status_code, own.status_code) == (403, 403, 200)

    run(main)


def test_a_request_that_a_proxy_hands_on_needs_a_key(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            for header in ("x-forwarded-for", "x-real-ip", "via", "forwarded"):
                response = await gateway.http.get("/v1/models", headers={header: "192.0.2.7"})
                assert response.status_code == 403
                assert "`openfall keys new NAME` lets it serve others with a key" in response.text
            assert (await gateway.http.get("/health", headers={"x-forwarded-for": "192.0.2.7"})).status_code == 200

    run(main)
