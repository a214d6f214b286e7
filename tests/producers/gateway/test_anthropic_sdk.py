"""Anthropic's Python SDK against the gateway, with its strict validation of every answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import ASK, TEXT, anthropic_client, thought_text_and_call, words

TOOLS: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


def test_a_message_passes_the_strict_validation(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway,
            anthropic_client(gateway) as client,
        ):
            message = await client.messages.create(model="chat", max_tokens=64, messages=ASK)
            counted = await client.messages.count_tokens(model="chat", messages=ASK)
        assert [block.type for block in message.content] == ["text"]
        assert (message.stop_reason, message.usage.input_tokens) == ("end_turn", 41)
        assert counted.input_tokens > 0

    run(main)


def test_the_raw_stream_and_the_helper_read_the_same_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, words("A lantern ", "festival.")) as gateway,
            anthropic_client(gateway) as client,
        ):
            raw = await client.messages.create(model="chat", max_tokens=64, messages=ASK, stream=True)
            events = [event async for event in raw]
            async with client.messages.stream(model="chat", max_tokens=65, messages=ASK) as helper:
                helped = "".join([text async for text in helper.text_stream])
        deltas = [event.delta for event in events if event.type == "content_block_delta"]
        assert "".join(delta.text for delta in deltas if delta.type == "text_delta") == helped == TEXT
        assert (events[0].type, events[-1].type) == ("message_start", "message_stop")

    run(main)


def test_thinking_text_and_tool_calls_become_blocks(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, thought_text_and_call()) as gateway,
            anthropic_client(gateway) as client,
            client.messages.stream(model="chat", max_tokens=64, messages=ASK, tools=TOOLS) as helper,
        ):
            message = await helper.get_final_message()
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        assert message.content[-1].input == {"at": "dusk"}  # type: ignore[union-attr]

    run(main)


def test_the_models_are_listed_and_an_error_names_the_remedy(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, pools=()) as gateway,
            anthropic_client(gateway, default_headers={"X-Openfall-Wait": "1s"}) as client,
        ):
            listed = [model.id async for model in await client.models.list(limit=1000)]
            model = await client.models.retrieve("chat")
            with pytest.raises(anthropic.NotFoundError, match="Did you mean 'chat'"):
                await client.messages.create(model="chatt", max_tokens=64, messages=ASK)
            with pytest.raises(anthropic.APIStatusError, match="start one: `openfall up`") as caught:
                await client.messages.create(model="chat", max_tokens=64, messages=ASK)
        assert {"chat", "scene", "auto", "tiny"} <= set(listed)
        assert model.id == "chat"
        assert caught.value.status_code == 529

    run(main)
