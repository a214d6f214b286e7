"""Embeddings through the gateway: real HTTP, the official SDK, one model and no other."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

import openfall
from openfall import Openfall
from openfall.router_core.jobs.embeddings import pack_vector
from openfall.router_core.state import keys
from tests.faults import COMPLETION, Script, answer
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

MODELS = "  words: {upstream: text-embed-1, backends: [rack], max_inputs: 2}"
TASKS = "tasks: {index: {chain: [words]}}"


def vectors(*numbers: list[float], packed: bool = True, tokens: int = 7) -> Script:
    data = [
        {"object": "embedding", "index": place, "embedding": pack_vector(vector) if packed else vector}
        for place, vector in enumerate(numbers)
    ]
    return answer({"object": "list", "data": data[::-1], "model": "text-embed-1", "usage": {"prompt_tokens": tokens}})


def open_embedding_gateway(redis_url: str, home: Path, *scripts: Script, **fleet: Any) -> Any:
    return open_gateway(redis_url, home, *scripts, more=TASKS, models=MODELS, **fleet)


async def embed(gateway: RunningGateway, texts: object, **more: Any) -> Any:
    return await gateway.http.post("/v1/embeddings", json={"model": "words", "input": texts, **more})


def test_the_official_client_reads_vectors_in_the_order_of_its_texts(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_embedding_gateway(redis_url, tmp_path, vectors([0.5, -1.0], [0.25, 2.0]), vectors([3.0])) as gateway,
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any") as client,
        ):
            packed = await client.embeddings.create(model="words", input=["a lantern", "a festival"])
            plain = await client.embeddings.create(model="index", input="a lantern", encoding_format="float")
            sent = json.loads(gateway.upstream.calls_received[0].body)
        assert [entry.embedding for entry in packed.data] == [[0.5, -1.0], [0.25, 2.0]]
        assert (packed.model, packed.usage.prompt_tokens) == ("words", 7)
        assert packed.model_extra["openfall"]["model_used"] == "words"
        assert {call.path for call in gateway.upstream.calls_received} == {"/v1/embeddings"}
        assert sent == {"model": "text-embed-1", "input": ["a lantern", "a festival"], "encoding_format": "base64"}
        assert (plain.model, plain.data[0].embedding) == ("index", [3.0])

    run(main)


def test_numbers_of_a_server_without_base64_reach_a_caller_of_either_form(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        refusal = answer({"error": {"message": "unknown field: encoding_format", "code": 400}}, 400)
        numbers = vectors([0.5, -1.0], packed=False)
        async with open_embedding_gateway(redis_url, tmp_path, refusal, numbers) as gateway:
            plain = await embed(gateway, "a lantern")
            packed = await embed(gateway, "a festival", encoding_format="base64")
            sent = [json.loads(call.body) for call in gateway.upstream.calls_received]
        assert plain.json()["data"][0]["embedding"] == [0.5, -1.0]
        assert packed.json()["data"][0]["embedding"] == pack_vector([0.5, -1.0])
        assert ["encoding_format" in body for body in sent] == [True, False, False]

    run(main)


def test_more_texts_than_a_provider_takes_are_sent_in_several_requests(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = [vectors([0.0], [1.0], tokens=2), vectors([2.0], [3.0], tokens=2), vectors([4.0], tokens=1)]
        async with open_embedding_gateway(redis_url, tmp_path, *scripts) as gateway:
            response = await embed(gateway, list("abcde"))
            sent = [json.loads(call.body)["input"] for call in gateway.upstream.calls_received]
        assert sent == [["a", "b"], ["c", "d"], ["e"]]
        assert [entry["embedding"] for entry in response.json()["data"]] == [[0.0], [1.0], [2.0], [3.0], [4.0]]
        assert response.json()["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
        assert response.headers["x-openfall-attempts"] == "1"

    run(main)


def test_a_request_that_cannot_be_embedded_says_what_it_needs(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_embedding_gateway(redis_url, tmp_path, answer(COMPLETION), pools=()) as gateway:
            refused = {
                "must be a text": await embed(gateway, []),
                "input[1] is empty": await embed(gateway, ["a", " "]),
                "at most 2,048": await embed(gateway, ["a"] * 2049),
                "token numbers, not": await embed(gateway, [1.5]),
                "float or base64": await embed(gateway, "a", encoding_format="hex"),
                "`dimensions`": await embed(gateway, "a", dimensions=0),
                "completes texts and embeds none": await embed(gateway, "a", model="tiny"),
                "embeds texts and completes none": await gateway.chat(model="words"),
            }
        for words, response in refused.items():
            assert response.status_code == 400
            assert words in response.json()["error"]["message"]

    run(main)


def test_token_numbers_reach_a_server_that_may_have_their_tokenizer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_embedding_gateway(redis_url, tmp_path, vectors([1.0]), vectors([1.0], [2.0])) as gateway:
            single, several = await embed(gateway, [5, 6, 7]), await embed(gateway, [[5, 6], [7]])
            sent = [json.loads(call.body)["input"] for call in gateway.upstream.calls_received]
        assert (single.status_code, several.status_code) == (200, 200)
        assert sent == [[[5, 6, 7]], [[5, 6], [7]]]

    run(main)


def test_no_text_and_no_other_model_stands_for_a_vector_when_its_model_is_away(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_embedding_gateway(
            redis_url, tmp_path, answer({"error": {"message": "overloaded"}}, 503)
        ) as gateway:
            response = await gateway.http.post(
                "/v1/embeddings", json={"model": "words", "input": "a"}, headers={"X-Openfall-Degraded": "reply"}
            )
            called = {json.loads(call.body)["model"] for call in gateway.upstream.calls_received}
        assert (response.status_code, response.json()["error"]["code"]) == (503, "held")
        assert called == {"text-embed-1"}

    run(main)


def test_the_list_of_models_says_which_embed(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_embedding_gateway(redis_url, tmp_path, vectors([1.0])) as gateway:
            listed = {entry["id"]: entry for entry in (await gateway.http.get("/v1/models")).json()["data"]}
            auto = await embed(gateway, "a", model="auto")
        assert listed["words"]["capabilities"] == ["embedding"]
        assert "embedding" not in listed["tiny"]["capabilities"]
        assert "words" not in listed["auto"]["openfall"]["chain"]
        assert listed["auto"]["capabilities"] == ["completion", "tools", "embedding"]
        assert auto.json()["openfall"]["model_used"] == "words"

    run(main)


def test_vectors_that_a_caller_waits_for_are_kept_briefly_and_those_of_an_inbox_as_configured(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_embedding_gateway(redis_url, tmp_path, vectors([1.0])) as gateway:
            body = {"model": "words", "input": "a"}
            responses = [
                await gateway.http.post("/v1/embeddings", json=body, headers=headers)
                for headers in ({}, {"x-openfall-inbox": "later"})
            ]
            names = [keys.RECORD + response.headers["x-openfall-job"] for response in responses]
            kept = [int(await gateway.link.command("HGET", name, "keep")) for name in names]
        assert kept[0] == 120
        assert kept[1] > 120

    run(main)


def test_the_python_client_embeds_texts(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_embedding_gateway(redis_url, tmp_path, vectors([0.5], [1.0])) as gateway:
            client = gateway.instance.client
            embeddings = await client.embed(["a", "b"], model="words", timeout=20)
            with pytest.raises(openfall.BadRequest, match="no option `temperature`"):
                await client.embed("a", model="words", temperature=1.0)
            with Openfall(config=client.config) as plain:
                same = await asyncio.to_thread(plain.embed, ["a", "b"], model="words")
        assert embeddings.vectors == same.vectors == [[0.5], [1.0]]
        assert embeddings.model == "words"
        assert embeddings.result.input_tokens == 7

    run(main)


def test_a_job_that_ends_without_vectors_raises_in_the_python_client(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        broken = answer({"data": [{"embedding": [[1.0], [2.0]]}]})
        async with open_embedding_gateway(redis_url, tmp_path, broken) as gateway:
            with pytest.raises(openfall.NoEmbeddings, match="malformed, after 2 tries"):
                await gateway.instance.client.embed("a", model="words", urgency="interactive")

    run(main)
