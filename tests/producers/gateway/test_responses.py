"""OpenAI's Responses through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openresponses_types import ResponseResource

from openfall.router_core.state import keys
from tests.faults import COMPLETION, answer, cut_events, events, piece, stall
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


@asynccontextmanager
async def _client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def _stream(*words: str) -> Any:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    return events(*[piece(content=word) for word in words], piece("stop"), usage)


def _events(text: str) -> list[dict[str, Any]]:
    lines = (line for line in text.splitlines() if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_response_has_every_field_that_open_responses_requires(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            response = await gateway.http.post(
                "/v1/responses",
                json={"model": "chat", "input": "Haruka waves", "tools": [LOOK, {"type": "web_search"}]},
            )
        body = response.json()
        ResponseResource.model_validate(body)
        assert body["output"][0]["content"][0]["text"] == "A lantern festival."
        assert (body["status"], body["model"]) == ("completed", "chat")
        assert body["usage"]["input_tokens"] == 41
        assert body["openfall"]["left_out"] == ["web_search"]

    run(main)


def test_an_openai_client_reads_a_response_and_its_tool_calls(redis_url: str, tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"dusk"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    called = {**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, answer(called), answer(COMPLETION)) as gateway,
            _client(gateway) as client,
        ):
            first = await client.responses.create(model="chat", input="look", tools=[LOOK])  # type: ignore[list-item]
            (item,) = first.output
            assert (item.type, item.call_id, item.name) == ("function_call", "call_1", "look")
            result = {"type": "function_call_output", "call_id": "call_1", "output": "lanterns"}
            history = [{"role": "user", "content": "look"}, item.model_dump(), result]
            second = await client.responses.create(model="chat", input=history, tools=[LOOK])  # type: ignore[arg-type, list-item]
            sent = json.loads(gateway.upstream.calls_received[-1].body)["messages"]
        assert second.output_text == "A lantern festival."
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "call_1"
        assert sent[2]["content"] == "lanterns"

    run(main)


def test_an_openai_client_streams_a_response(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, _stream("A lantern ", "festival.")) as gateway,
            _client(gateway) as client,
        ):
            kinds, numbers = [], []
            async with client.responses.stream(model="chat", input="Haruka waves") as stream:
                async for event in stream:
                    kinds.append(event.type)
                    numbers.append(event.sequence_number)
                final = await stream.get_final_response()
        assert final.output_text == "A lantern festival."
        assert numbers == list(range(len(numbers)))
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        assert "response.output_text.done" in kinds

    run(main)


def test_each_response_in_a_stream_has_every_item_that_the_stream_has_begun(redis_url: str, tmp_path: Path) -> None:
    """openai-js takes the `output` of each for the whole, and looks for the item of each event there."""

    async def main() -> None:
        broken = cut_events(piece(role="assistant"), piece(content="A lan"))
        async with open_gateway(redis_url, tmp_path, broken, _stream("A lantern ", "festival.")) as gateway:
            sent = _events(
                (await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x", "stream": True})).text
            )
        output: list[Any] = []
        for event in sent:
            output = event.get("response", {}).get("output", output)
            if event["type"] == "response.output_item.added":
                output = [*output, event["item"]]
            assert event.get("output_index", -1) < len(output)
        assert [event["item"]["status"] for event in sent if event["type"] == "response.output_item.done"] == [
            "incomplete",
            "completed",
        ]
        assert len(output) == 1

    run(main)


def test_a_background_response_is_polled_until_it_is_complete(redis_url: str, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer(COMPLETION)(writer)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, slow) as gateway, _client(gateway) as client:
            queued = await client.responses.create(model="chat", input="Haruka waves", background=True)
            gate.set()
            async with asyncio.timeout(60):
                while (polled := await client.responses.retrieve(queued.id)).status != "completed":
                    await asyncio.sleep(0.02)
            record = await gateway.instance.client.record(queued.id.removeprefix("resp_"))
            await client.responses.delete(queued.id)
            gone = await gateway.http.get(f"/v1/responses/{queued.id}")
        assert (queued.status, queued.background) == ("queued", True)
        assert polled.output_text == "A lantern festival."
        assert record.queue.endswith(".background")
        assert gone.status_code == 404

    run(main)


def test_a_stream_of_the_background_is_resumed_behind_any_event(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, _stream("A ", "lantern ", "festival.")) as gateway:
            begun = await gateway.http.post(
                "/v1/responses", json={"model": "chat", "input": "x", "background": True, "stream": True}
            )
            whole = _events(begun.text)
            path = f"/v1/responses/{whole[0]['response']['id']}?stream=true"
            again = _events((await gateway.http.get(path)).text)
            for after in range(len(whole)):
                rest = _events((await gateway.http.get(f"{path}&starting_after={after}")).text)
                assert rest == whole[after + 1 :]
        assert again == whole
        assert [event["sequence_number"] for event in whole] == list(range(len(whole)))

    run(main)


def test_a_response_is_cancelled_by_its_id_and_twice_is_the_same(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, _client(gateway) as client:
            queued = await client.responses.create(model="chat", input="x", background=True)
            first = await client.responses.cancel(queued.id)
            again = await client.responses.cancel(queued.id)
        assert (first.status, again.status) == ("cancelled", "cancelled")

    run(main)


def test_a_model_that_starts_its_answer_again_leaves_the_right_text(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (cut_events(piece(content="Wrong ")), _stream("A lantern ", "festival."))
        async with (
            open_gateway(redis_url, tmp_path, *scripts) as gateway,
            _client(gateway) as client,
            client.responses.stream(model="chat", input="x") as stream,
        ):
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text == "A lantern festival."
        assert kinds.count("response.output_item.added") == 2

    run(main)


def test_a_failure_in_the_background_is_a_failed_response_with_its_cause(redis_url: str, tmp_path: Path) -> None:
    refused = answer({"error": {"message": "your prompt is too long", "code": "context_length_exceeded"}}, 400)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, refused) as gateway, _client(gateway) as client:
            queued = await client.responses.create(model="plain", input="x", background=True)
            await gateway.instance.client.wait(queued.id.removeprefix("resp_"), 60)
            failed = await client.responses.retrieve(queued.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "invalid_prompt"

    run(main)


@pytest.mark.parametrize("body", [{"model": "chatt", "input": "x"}, {"model": "chat", "input": []}])
def test_nothing_of_a_request_that_is_refused_stays(redis_url: str, tmp_path: Path, body: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            refused = await gateway.http.post("/v1/responses", json={**body, "background": True})
            stored = await gateway.link.command("KEYS", keys.RESPONSE + "*")
        assert (refused.status_code // 100, stored) == (4, [])

    run(main)


def test_a_response_that_is_not_stored_is_not_found_again(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            made = await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x", "store": False})
            gone = await gateway.http.get(f"/v1/responses/{made.json()['id']}")
            stored = await gateway.link.command("KEYS", keys.RESPONSE + "*")
        assert (made.status_code, gone.status_code, stored) == (200, 404, [])

    run(main)
