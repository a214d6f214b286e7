"""Streamed messages through the gateway, from backends of both protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic

from tests.faults import COMPLETION, answer, events, named_events, piece
from tests.producers.gateway.running_gateway import SAY, open_gateway, run

TOOLS = [{"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}]


async def _message(url: str, **more: Any) -> tuple[Any, list[str]]:
    client = anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0)
    kinds = []
    async with client, client.messages.stream(model="chat", max_tokens=64, messages=SAY["messages"], **more) as stream:  # type: ignore[arg-type]
        async for event in stream:
            kinds.append(event.type)
        return await stream.get_final_message(), kinds


def test_an_anthropic_client_streams_from_a_backend_of_openais_protocol(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":'}}
        script = events(
            piece(content="Let me "), piece(content="look."), piece(tool_calls=[call]),
            piece(tool_calls=[{"index": 0, "function": {"arguments": '"dusk"}'}}]), piece("tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 41, "completion_tokens": 5, "total_tokens": 46}},
        )  # fmt: skip
        async with open_gateway(redis_url, tmp_path, script) as gateway:
            message, _ = await _message(gateway.url, tools=TOOLS)
        text, tool = message.content
        assert (text.text, tool.name, tool.input) == ("Let me look.", "look", {"at": "dusk"})
        assert (message.stop_reason, message.model) == ("tool_use", "chat")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (41, 5)
        assert message.id.startswith("msg_")

    run(main)


def test_thinking_and_its_signature_reach_the_client_as_the_provider_sent_them(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, _thinking_stream(), protocol="anthropic") as gateway:
            message, kinds = await _message(gateway.url, thinking={"type": "enabled", "budget_tokens": 1024})
        thinking, hidden, text = message.content
        assert (thinking.thinking, thinking.signature) == ("Dusk, then.", "sig-of-provider")
        assert (hidden.type, hidden.data) == ("redacted_thinking", "b64")
        assert text.text == "Lanterns."
        assert kinds.count("content_block_stop") == 3

    run(main)


def _thinking_stream() -> Any:
    usage = {"input_tokens": 9, "output_tokens": 1}
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": usage,
    }  # fmt: skip

    def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def delta(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    return named_events(
        {"type": "message_start", "message": message},
        start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(0, type="thinking_delta", thinking="Dusk, "),
        delta(0, type="thinking_delta", thinking="then."),
        delta(0, type="signature_delta", signature="sig-of-provider"),
        {"type": "content_block_stop", "index": 0},
        start(1, {"type": "redacted_thinking", "data": "b64"}),
        {"type": "content_block_stop", "index": 1},
        start(2, {"type": "text", "text": ""}),
        delta(2, type="text_delta", text="Lanterns."),
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    )


def test_an_answer_in_one_piece_is_streamed_as_a_message(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            message, kinds = await _message(gateway.url)
        assert message.content[0].text == "A lantern festival."
        assert kinds[0] == "message_start"
        assert kinds[-1] == "message_stop"

    run(main)
