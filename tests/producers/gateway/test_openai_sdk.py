"""OpenAI's Python SDK against the gateway, with its strict validation of every answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import ASK, LOOK, TEXT, openai_client, thought_text_and_call, words


def test_a_completion_and_a_response_pass_the_strict_validation(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, openai_client(gateway) as client:
            whole = await client.chat.completions.create(model="chat", messages=ASK)
            response = await client.responses.create(model="chat", input="Haruka waves")
            legacy = await client.completions.create(model="chat", prompt="Haruka waves")
        assert (whole.choices[0].message.content, response.output_text, legacy.choices[0].text) == (TEXT, TEXT, TEXT)

    run(main)


def test_a_loop_that_reads_the_first_choice_of_every_chunk_reads_the_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, words("A lantern ", "festival.")) as gateway,
            openai_client(gateway) as client,
        ):
            stream = await client.chat.completions.create(model="chat", messages=ASK, stream=True)
            careless = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert careless == TEXT

    run(main)


def test_a_loop_over_legacy_completions_reads_the_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        # not strict: the type of the SDK has no null finish reason, which every chunk but the last has at OpenAI too
        async with (
            open_gateway(redis_url, tmp_path, words("A lantern ", "festival.")) as gateway,
            openai_client(gateway, _strict_response_validation=False) as client,
        ):
            stream = await client.completions.create(model="chat", prompt="Haruka waves", stream=True)
            text = "".join([chunk.choices[0].text async for chunk in stream])
        assert text == TEXT

    run(main)


def test_the_stream_helper_collects_text_tool_calls_and_usage(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        tools = [{"type": "function", "function": {key: LOOK[key] for key in ("name", "parameters")}}]
        async with (
            open_gateway(redis_url, tmp_path, thought_text_and_call()) as gateway,
            openai_client(gateway) as client,
        ):
            options = {"include_usage": True}
            async with client.chat.completions.stream(
                model="chat",
                messages=ASK,
                tools=tools,
                stream_options=options,  # type: ignore[arg-type]
            ) as stream:
                kinds = {event.type async for event in stream}
                whole = await stream.get_final_completion()
        (call,) = whole.choices[0].message.tool_calls or ()
        assert (call.function.name, call.function.arguments) == ("look", '{"at":"dusk"}')
        assert whole.choices[0].message.content == "Let me look."
        assert whole.usage is not None
        assert whole.usage.total_tokens == 9
        assert "tool_calls.function.arguments.done" in kinds

    run(main)


def test_every_event_of_a_response_passes_the_strict_validation(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, thought_text_and_call()) as gateway,
            openai_client(gateway) as client,
        ):
            stream = await client.responses.create(model="chat", input="look", tools=[LOOK], stream=True)
            kinds = [event.type async for event in stream]
            async with client.responses.stream(model="chat", input="look again", tools=[LOOK]) as helper:
                async for _ in helper:
                    pass
                final = await helper.get_final_response()
        assert kinds[-1] == "response.completed"
        assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]

    run(main)


def test_a_background_response_is_followed_resumed_and_cancelled(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (words("A ", "lantern ", "festival."), stall)
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway, openai_client(gateway) as client:
            begun = await client.responses.create(model="chat", input="x", background=True, stream=True)
            events = [event async for event in begun]
            response_id = events[0].response.id  # type: ignore[union-attr]
            again = await client.responses.retrieve(response_id, stream=True, starting_after=3)
            rest = [event.sequence_number async for event in again]
            async with client.responses.stream(response_id=response_id, starting_after=3) as helper:
                helped = [event.sequence_number async for event in helper]
                final = await helper.get_final_response()
            waiting = await client.responses.create(model="chat", input="y", background=True)
            ended = await client.responses.cancel(waiting.id)
        assert rest == helped == list(range(4, len(events)))
        assert final.output_text == TEXT
        assert (waiting.status, ended.status) == ("queued", "cancelled")

    run(main)


def test_the_sdk_repeats_until_the_answer_is_there_and_nothing_is_bought_twice(redis_url: str, tmp_path: Path) -> None:
    statuses, gate = [], asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer(COMPLETION)(writer)

    async def note(response: Any) -> None:
        statuses.append(response.status_code)
        gate.set()

    async def main() -> None:
        noting = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
        wait = {"X-Openfall-Wait": "200ms"}
        async with open_gateway(redis_url, tmp_path, slow) as gateway:
            async with openai_client(gateway, max_retries=2, default_headers=wait, http_client=noting) as client:
                whole = await client.chat.completions.create(model="chat", messages=ASK)
            assert len(gateway.upstream.calls_received) == 1
        assert whole.choices[0].message.content == TEXT
        assert statuses == [503, 200]

    run(main)


def test_the_sdk_does_not_repeat_what_the_queue_has_tried_in_vain(redis_url: str, tmp_path: Path) -> None:
    statuses = []

    async def note(response: Any) -> None:
        statuses.append(response.status_code)

    async def main() -> None:
        noting = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
        async with (
            open_gateway(redis_url, tmp_path, answer({"error": {"message": "bad image"}}, 400)) as gateway,
            openai_client(gateway, max_retries=2, http_client=noting) as client,
        ):
            with pytest.raises(openai.BadRequestError, match="bad image"):
                await client.chat.completions.create(model="plain", messages=ASK)
        assert statuses == [400]

    run(main)


async def _error_text(gateway: RunningGateway, **options: object) -> str:
    """What the SDK prints for a request that is refused."""
    async with openai_client(gateway, **options) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="chat", messages=ASK)
    return str(caught.value)


def test_the_error_of_a_wrong_key_a_wrong_model_or_no_worker_names_the_remedy(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            async with openai_client(gateway) as client:
                with pytest.raises(openai.NotFoundError, match=r"unknown role, task or model 'chatt'.*mean 'chat'"):
                    await client.chat.completions.create(model="chatt", messages=ASK)
                with pytest.raises(openai.NotFoundError, match=r"GET /docs lists all paths"):
                    await client.moderations.create(input="x")
            idle = await _error_text(gateway, default_headers={"X-Openfall-Wait": "1s"})
            await add_key(gateway.link, ClientKey(name="bot", digest=digest_of("of_bot")))
            gateway.instance.keys = await fetch_keys(gateway.link)
            stranger = await _error_text(gateway, api_key="of_other")
        assert "`openfall keys list` names the known ones" in stranger
        assert "of_other" not in stranger
        assert "no live worker serves its queue (start one: `openfall up`, or `openfall work gpu`)" in idle
        assert "Send the same request again" in idle

    run(main)


def test_the_sdk_lists_the_models(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            listed = [model.id async for model in await client.models.list()]
            model = await client.models.retrieve("chat")
        assert {"chat", "scene", "auto", "tiny"} <= set(listed)
        assert model.id == "chat"

    run(main)
