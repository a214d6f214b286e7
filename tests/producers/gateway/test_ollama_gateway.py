"""The Ollama gateway: the official client, and what programs check at their start."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest

from openfall.router_core.jobs.embeddings import pack_vector
from openfall.router_core.state.audit_log import read_entries
from tests.faults import COMPLETION, USAGE, answer, events, stall
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

HELLO = [{"role": "user", "content": "Haruka waves"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "wave", "arguments": '{"hand": "left"}'}}


def chunk(**delta: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


FINISH = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}
STREAM = events(
    chunk(role="assistant", reasoning_content="A wave."),
    chunk(content="A lantern "),
    chunk(content="festival."),
    FINISH,
)


@asynccontextmanager
async def ollama_gateway(*arguments: Any, **more: Any) -> AsyncIterator[tuple[RunningGateway, ollama.AsyncClient]]:
    async with open_gateway(*arguments, **more) as gateway, ollama.AsyncClient(host=gateway.url) as client:
        yield gateway, client


def test_the_official_client_reads_a_chat_whole_and_in_pieces(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, answer(COMPLETION), STREAM) as (_, client):
            whole = await client.chat(model="plain:latest", messages=HELLO)
            parts = [part async for part in await client.chat(model="chat", messages=HELLO, stream=True, think=True)]
        assert whole.message.content == "A lantern festival."
        assert (whole.model, whole.done_reason) == ("plain:latest", "stop")
        assert (whole.prompt_eval_count, whole.eval_count) == (41, 5)
        assert "".join(part.message.content or "" for part in parts) == "A lantern festival."
        assert "".join(part.message.thinking or "" for part in parts) == "A wave."
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        assert parts[-1].eval_count == 5
        assert (parts[-1].eval_duration or 0) > 0

    run(main)


def test_a_chat_is_streamed_in_lines_unless_the_caller_says_otherwise(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, STREAM) as (gateway, _):
            response = await gateway.http.post("/api/chat", json={"model": "chat", "messages": HELLO})
        lines = [json.loads(each) for each in response.text.splitlines()]
        assert response.headers["content-type"].startswith("application/x-ndjson")
        assert lines[-1]["openfall"]["model_used"] == "tiny"
        assert all(line["model"] == "chat" for line in lines)

    run(main)


def test_a_call_of_a_tool_has_an_object_as_its_arguments(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        streamed = events(chunk(role="assistant", tool_calls=[{"index": 0, **CALL}]), FINISH)
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        plain = answer({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
        tool = {"type": "function", "function": {"name": "wave", "parameters": {"type": "object", "properties": {}}}}
        async with ollama_gateway(redis_url, tmp_path, plain, streamed) as (_, client):
            whole = await client.chat(model="plain", messages=HELLO, tools=[tool])
            parts = [each async for each in await client.chat(model="chat", messages=HELLO, tools=[tool], stream=True)]
        calls = [call for part in parts for call in part.message.tool_calls or ()]
        assert [call.function.arguments for call in (*(whole.message.tool_calls or ()), *calls)] == [
            {"hand": "left"}
        ] * 2

    run(main)


def test_generate_answers_a_prompt_by_a_chat_of_one_message(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, answer(COMPLETION), STREAM) as (gateway, client):
            whole = await client.generate(model="plain", prompt="Haruka waves", system="Be brief", suffix="}")
            parts = [part async for part in await client.generate(model="chat", prompt="Haruka waves", stream=True)]
            sent = json.loads(gateway.upstream.calls_received[0].body)
        assert whole.response == "".join(part.response for part in parts) == "A lantern festival."
        assert whole.model_dump().get("context") is None
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert "suffix" not in sent

    run(main)


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_the_receipt_of_a_generate_names_what_another_protocol_left_out(
    redis_url: str, tmp_path: Path, protocol: str
) -> None:
    async def main() -> None:
        message = {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "c"}]}
        ending = {"model": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}}
        reply = answer(COMPLETION if protocol == "openai" else {**message, **ending})
        body = {"model": "plain", "prompt": "def f(", "raw": True, "suffix": "return c", "context": []}
        async with ollama_gateway(redis_url, tmp_path, reply, protocol=protocol) as (gateway, _):
            whole = (await gateway.http.post("/api/generate", json={**body, "stream": False})).json()
            last = json.loads((await gateway.http.post("/api/generate", json=body)).text.splitlines()[-1])
        assert whole["openfall"]["left_out"] == last["openfall"]["left_out"] == ["raw", "suffix"]
        assert "context" not in whole

    run(main)


def test_what_sdks_send_and_means_nothing_reaches_no_model(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        empty = {"tools": [], "options": {"temperature": None, "num_ctx": 8192}, "format": "", "keep_alive": None}
        reply = answer({"model": "tiny-1", "message": {"role": "assistant", "content": "Hello"}, "done": True})
        async with ollama_gateway(redis_url, tmp_path, reply, protocol="ollama") as (gateway, _):
            await gateway.http.post("/api/chat", json={"model": "chat", "messages": HELLO, "stream": False, **empty})
            await gateway.http.post(
                "/api/chat", json={"model": "chat", "messages": HELLO, "stream": False, "options": {}}
            )
            sent = next(json.loads(call.body) for call in gateway.upstream.calls_received if call.path == "/api/chat")
        assert sent["options"] == {"num_ctx": 8192}
        assert not {"tools", "format", "keep_alive"} & sent.keys()

    run(main)


def test_programs_find_at_their_start_what_they_look_for(redis_url: str, tmp_path: Path) -> None:
    """n8n and Open WebUI: `/`, version, tags, ps. Copilot and LlamaIndex: `model_info`. Home Assistant: list, pull."""

    async def main() -> None:
        models = "  words: {upstream: nomic-embed-text, backends: [rack]}"
        async with ollama_gateway(redis_url, tmp_path, answer(COMPLETION), models=models, pools=()) as (
            gateway,
            client,
        ):
            root, head = await gateway.http.get("/"), await gateway.http.head("/")
            version = (await gateway.http.get("/api/version")).json()
            listed = [model.model for model in (await client.list()).models]
            shown, embedding = await client.show("chat"), await client.show("words:latest")
            every = [await client.show(name) for name in listed if name]
            loaded = await client.ps()
            pulled = [part.status async for part in await client.pull("chat:latest", stream=True)]
            whole = await client.pull("chat")
        assert (root.text, head.status_code) == ("Ollama is running", 200)
        assert version == {"version": "0.12.6"}
        assert {"chat:latest", "tiny:latest", "auto:latest", "words:latest"} <= set(listed)
        info = shown.modelinfo or {}
        architecture = info["general.architecture"]
        assert info[f"{architecture}.context_length"] == 4096
        assert info["general.basename"] == "chat"
        assert {"completion", "tools"} <= set(shown.capabilities or ())
        assert embedding.capabilities == ["embedding"]
        assert all(model.capabilities for model in every)
        assert loaded.models == []
        assert (pulled[-1], whole.status) == ("success", "success")

    run(main)


def test_errors_are_a_text_with_their_code_in_a_header(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, stall, pools=()) as (gateway, client):
            with pytest.raises(ollama.ResponseError, match="Did you mean 'chat'") as unknown:
                await client.chat(model="chta", messages=HELLO)
            with pytest.raises(ollama.ResponseError) as pulled:
                await client.pull("nothing-like-it")
            with pytest.raises(ollama.ResponseError, match="those of its configuration") as deleted:
                await client.delete("chat")
            missing = await gateway.http.post("/api/nothing", json={})
            messages = await gateway.http.post("/api/chat", json={"model": "chat", "messages": "Haruka"})
        assert (unknown.value.status_code, pulled.value.status_code, deleted.value.status_code) == (404, 404, 403)
        assert missing.json().keys() == {"error"}
        assert missing.headers["x-openfall-code"] == "unknown_url"
        assert (messages.status_code, messages.headers["x-openfall-code"]) == (400, "bad_request")

    run(main)


def test_a_chat_without_messages_loads_its_model_and_a_keep_alive_of_0_unloads_it(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        done = answer({"done": True, "models": []})
        async with ollama_gateway(redis_url, tmp_path, done, protocol="ollama", pools=()) as (gateway, client):
            loaded = await client.chat(model="chat")
            loaded_again, embedded = await client.generate(model="tiny"), await client.embed(model="tiny", input="")
            assert (loaded_again.done_reason, embedded.embeddings) == ("load", [])
            assert not await read_entries(gateway.link, 9), "a person who selects a model is no operator"
            unloaded = await client.generate(model="tiny", keep_alive=0)
            sent = [json.loads(call.body) for call in gateway.upstream.calls_received if call.path == "/api/generate"]
            entries = await read_entries(gateway.link, 9)
        assert [(entry.action, entry.subject) for entry in entries] == [("model.unload", "tiny")]
        assert (loaded.done_reason, unloaded.done_reason) == ("load", "unload")
        assert [(body["model"], body.get("keep_alive")) for body in sent] == [("tiny-1", None)] * 3 + [("tiny-1", 0)]

    run(main)


def test_ollamas_embeddings_are_served_by_any_backend(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        data = [{"index": n, "embedding": pack_vector([float(n)])} for n in (0, 1)]
        two, single = answer({"data": data, "usage": {"prompt_tokens": 3}}), answer({"data": data[:1]})
        models = "  words: {upstream: text-embed-1, backends: [rack]}"
        async with ollama_gateway(redis_url, tmp_path, two, single, models=models) as (gateway, client):
            vectors = await client.embed(model="words", input=["a", "b"])
            legacy = await client.embeddings(model="words", prompt="a")
            nothing = await client.embed(model="words", input="")
            sent = json.loads(gateway.upstream.calls_received[0].body)
        assert [list(vector) for vector in vectors.embeddings] == [[0.0], [1.0]]
        assert vectors.prompt_eval_count == 3
        assert list(legacy.embedding) == [0.0]
        assert list(nothing.embeddings) == []
        assert "truncate" not in sent

    run(main)


def test_a_job_that_waits_is_a_503_and_a_stream_that_fails_after_its_head_a_line(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, stall) as (gateway, _):
            waiting = await gateway.http.post(
                "/api/chat",
                json={"model": "chat", "messages": HELLO, "stream": False},
                headers={"X-Openfall-Wait": "300ms"},
            )
        assert (waiting.status_code, waiting.headers["x-openfall-code"]) == (503, "still_queued")
        assert isinstance(waiting.json()["error"], str)

    run(main)
