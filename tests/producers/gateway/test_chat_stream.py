"""Streamed chat completions through the gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import openai

from openfall.router_core.state import keys
from tests.faults import COMPLETION, answer, cut_events, events, piece, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

STREAM = {"model": "chat", "stream": True, **SAY}


async def _lines(gateway: RunningGateway, **more: Any) -> tuple[httpx.Response, list[str]]:
    response = await gateway.chat(stream=True, **more)
    return response, response.text.split("\n\n")[:-1]


def _chunks(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.partition("data: ")[2]) for line in lines if line.startswith("data: {")]


def _words(*words: str) -> Any:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    return events(*[piece(content=word) for word in words], piece("stop"), usage)


def test_an_openai_client_streams_an_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, _words("A lantern ", "festival.")) as gateway:
            client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
            async with client:
                stream = await client.chat.completions.create(
                    model="chat", messages=SAY["messages"], stream=True, stream_options={"include_usage": True}
                )  # type: ignore[call-overload]
                chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "A lantern festival."
        assert chunks[-1].usage.total_tokens == 9
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-2].model_extra["openfall"]["model_used"] == "tiny"

    run(main)


def test_the_wire_has_nothing_that_a_careless_client_fails_at(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, _words("a", "b")) as gateway:
            response, lines = await _lines(gateway)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert lines[-1] == "data: [DONE]"
        chunks = _chunks(lines)
        assert all(chunk["choices"] and chunk["object"] == "chat.completion.chunk" for chunk in chunks)
        assert {chunk["model"] for chunk in chunks} == {"chat"}
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert not any(line.startswith(("id:", "retry:")) or line.strip() == "data:" for line in lines)

    run(main)


def test_tool_calls_thinking_and_refusals_are_streamed(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
        script = events(
            piece(reasoning_content="hmm"),
            piece(tool_calls=[call]),
            piece(tool_calls=[{"index": 0, "function": {"arguments": '{"at":'}}]),
            piece(tool_calls=[{"index": 0, "function": {"arguments": '"dusk"}'}}]),
            piece("tool_calls"),
        )
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        async with open_gateway(redis_url, tmp_path, script) as gateway:
            client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
            async with (
                client,
                client.chat.completions.stream(
                    model="chat",
                    messages=SAY["messages"],
                    tools=tools,  # type: ignore[arg-type]
                ) as stream,
            ):
                final = await stream.get_final_completion()
                snapshot = final.choices[0]
        assert snapshot.finish_reason == "tool_calls"
        assert snapshot.message.tool_calls is not None
        (tool,) = snapshot.message.tool_calls
        assert (tool.id, tool.function.name, tool.function.arguments) == ("call_1", "look", '{"at":"dusk"}')

    run(main)


def test_an_upstream_that_does_not_stream_is_streamed_all_the_same(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            _, lines = await _lines(gateway)
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in _chunks(lines))
        assert text == "A lantern festival."

    run(main)


def test_a_refusal_before_the_first_piece_has_its_own_status(redis_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("openfall.producers.gateway.event_stream.HEAD_SECONDS", 20)  # on a busy machine too

    async def main() -> None:
        refused = answer({"error": {"message": "the prompt is too long", "code": "context_length_exceeded"}}, 400)
        async with open_gateway(redis_url, tmp_path, refused) as gateway:
            response = await gateway.chat(model="plain", stream=True)
        assert response.status_code in (400, 503)
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["code"]

    run(main)


def test_a_stream_that_starts_again_asks_the_caller_to_repeat_the_request(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (cut_events(piece(content="A lan")), stall)
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            async with gateway.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
                lines = [line async for line in response.aiter_lines() if line]
            job = response.headers["x-openfall-job"]
            state = (await gateway.instance.client.record(job)).result
            gateway_id = await gateway.link.command("HGET", keys.RECORD + job, "gateway")
            seconds, _ = await gateway.link.command("TIME")
            lingers_ms = float(await gateway.link.command("ZSCORE", keys.CALLER_LEASES, job)) - int(seconds) * 1000
        assert '"content":"A lan"' in "".join(lines)
        error = json.loads(lines[-2].removeprefix("data: "))["error"]
        assert error["code"] == "restarted"
        assert lines[-1] == "data: [DONE]"
        assert (state, gateway_id) == (None, None)
        assert lingers_ms > 60_000

    run(main)


def test_a_caller_who_leaves_a_stream_ends_an_interactive_job(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async def endless(writer: asyncio.StreamWriter) -> None:
            await cut_events(piece(content="A lan"))(writer)
            await asyncio.sleep(30)

        async with open_gateway(redis_url, tmp_path, endless) as gateway:
            async with gateway.http.stream("POST", "/v1/chat/completions", json=STREAM) as response:
                async for line in response.aiter_lines():
                    if "A lan" in line:
                        break
                job = response.headers["x-openfall-job"]
            result = await gateway.instance.client.wait(job, 60)
        assert (str(result.status), result.detail) == ("cancelled", "its caller has left")

    run(main)


def test_a_stream_is_kept_open_while_nothing_is_written(redis_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("openfall.producers.gateway.event_stream.HEAD_SECONDS", 0.05)
    monkeypatch.setattr("openfall.producers.gateway.event_stream.KEEPALIVE_SECONDS", 0.05)

    async def first_lines(gateway: RunningGateway, keepalive: str) -> str:
        headers = {"X-Openfall-Keepalive": keepalive, "X-Openfall-Urgency": "background"}
        async with gateway.http.stream("POST", "/v1/chat/completions", json=STREAM, headers=headers) as response:
            async for line in response.aiter_lines():
                if line:
                    return line
        return ""

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall, pools=()) as gateway:
            comment, chunk = await first_lines(gateway, "comment"), await first_lines(gateway, "chunk")
        assert comment == ": queued position=1"
        assert json.loads(chunk.removeprefix("data: "))["choices"][0]["delta"] == {"content": ""}

    run(main)


def test_a_repeat_without_a_stream_reads_the_answer_of_a_stream_that_broke(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await _words("A lantern ", "festival.")(writer)

        async with open_gateway(redis_url, tmp_path, slow) as gateway:
            request = asyncio.create_task(gateway.chat(stream=True))
            async with asyncio.timeout(60):
                while not gateway.upstream.calls_received:
                    await asyncio.sleep(0.01)
            request.cancel()
            await asyncio.wait([request])
            (job,) = (name.decode() for name in await gateway.link.command("ZRANGE", keys.UNFINISHED, 0, -1))
            async with asyncio.timeout(60):
                while await gateway.link.command("HEXISTS", keys.RECORD + job, "gateway"):
                    await asyncio.sleep(0.01)
            again = asyncio.create_task(gateway.chat())
            gate.set()
            response = await again
        assert response.headers["x-openfall-job"] == job
        assert response.json()["choices"][0]["message"]["content"] == "A lantern festival."
        assert len(gateway.upstream.calls_received) == 1

    run(main)


def test_a_legacy_completion_is_streamed_as_text(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, _words("A ", "festival.")) as gateway:
            response = await gateway.http.post("/v1/completions", json={"model": "chat", "prompt": "x", "stream": True})
        chunks = _chunks(response.text.split("\n\n"))
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "A festival."
        assert {chunk["object"] for chunk in chunks} == {"text_completion"}

    run(main)


def test_a_canned_reply_stands_for_an_answer_only_where_somebody_wants_it(
    redis_url: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("openfall.producers.gateway.event_stream.HEAD_SECONDS", 20)  # on a busy machine too

    async def main() -> None:
        gone = answer({"error": {"message": "no such model"}}, 404)
        async with open_gateway(redis_url, tmp_path, gone) as gateway:
            plain = await gateway.chat(stream=True)
            wanted = await gateway.http.post(
                "/v1/chat/completions", json=STREAM, headers={"X-Openfall-Degraded": "reply"}
            )
            tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
            agent = await gateway.http.post(
                "/v1/chat/completions", json={**STREAM, "tools": tools}, headers={"X-Openfall-Degraded": "reply"}
            )
        assert (plain.status_code, plain.json()["error"]["code"]) == (503, "held")
        assert wanted.status_code == 200
        assert "No model can answer" in wanted.text
        assert (agent.status_code, agent.json()["error"]["code"]) == (503, "held")

    run(main)
