"""A model's refusal is an answer in the form of each API, where every model refuses or the role says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults import COMPLETION, Script, answer, events, named_events, piece
from tests.native_responses import REFUSAL, native, whole_stream
from tests.producers.gateway.running_gateway import NATIVE, RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import anthropic_client, openai_client, words

WORDS = "I won't."
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": None, "refusal": WORDS}, "finish_reason": "stop"}
REFUSED = answer({**COMPLETION, "choices": [_CHOICE]})
STREAMED = events(piece(refusal="I "), piece(refusal="won't."), piece("stop"))
ACCEPTING = "chat: {{chain: [tiny, other], accept_refusals: yes, "
ASK: Any = [{"role": "user", "content": "x"}]


async def _chat(gateway: RunningGateway) -> tuple[str | None, str | None]:
    async with openai_client(gateway) as client:
        choice = (await client.chat.completions.create(model="chat", messages=ASK)).choices[0]
    assert (choice.message.content, choice.finish_reason) == (None, "stop")
    return choice.message.refusal, None


async def _chat_stream(gateway: RunningGateway) -> tuple[str, None]:
    async with openai_client(gateway) as client, client.chat.completions.stream(model="chat", messages=ASK) as stream:
        async for _ in stream:
            pass
        return str((await stream.get_final_completion()).choices[0].message.refusal), None


async def _message(gateway: RunningGateway) -> tuple[str, str | None]:
    async with anthropic_client(gateway) as client:
        message: Any = await client.messages.create(model="chat", messages=ASK, max_tokens=50)
    return message.content[0].text, message.stop_reason


async def _message_stream(gateway: RunningGateway) -> tuple[str, str | None]:
    async with (
        anthropic_client(gateway) as client,
        client.messages.stream(model="chat", messages=ASK, max_tokens=50) as stream,
    ):
        message: Any = await stream.get_final_message()
    return message.content[0].text, message.stop_reason


async def _response(gateway: RunningGateway) -> tuple[str, str | None]:
    async with openai_client(gateway) as client:
        response: Any = await client.responses.create(model="chat", input="x")
    assert response.output[0].content[0].type == "refusal"
    assert response.model_extra["openfall"]["refused"] is True
    return response.output[0].content[0].refusal, response.status


async def _response_stream(gateway: RunningGateway) -> tuple[str, str | None]:
    async with openai_client(gateway) as client, client.responses.stream(model="chat", input="x") as stream:
        kinds = [event.type async for event in stream]
        response: Any = await stream.get_final_response()
    assert {"response.refusal.delta", "response.refusal.done"} <= set(kinds)
    return response.output[0].content[0].refusal, response.status


@pytest.mark.parametrize(
    ("ask", "end"),
    [
        (_chat, None), (_chat_stream, None), (_message, "refusal"), (_message_stream, "refusal"),
        (_response, "completed"), (_response_stream, "completed"),
    ],
)  # fmt: skip
def test_a_refusal_of_every_model_reaches_each_caller_as_an_answer(
    redis_url: str, tmp_path: Path, ask: Any, end: str | None
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, STREAMED) as gateway:
            assert await ask(gateway) == (WORDS, end)
            assert len(gateway.upstream.calls_received) == 2

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_model_answers_in_place_of_a_refusal_that_no_caller_reads(
    redis_url: str, tmp_path: Path, stream: bool
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, STREAMED, words("A lantern.")) as gateway:
            text = (await gateway.chat(stream=stream)).text
        assert "A lantern." in text
        assert "won't" not in text

    run(main)


@pytest.mark.parametrize(
    ("last", "remedies"),
    [
        pytest.param(answer({"error": {"message": "no"}}, 400), "", id="refuses the request"),
        pytest.param(answer({"error": {"message": "no"}}, 401), "open_fall: [fail], ", id="cannot be called"),
    ],
)
def test_an_earlier_refusal_is_the_answer_where_the_last_model_fails_otherwise(
    redis_url: str, tmp_path: Path, last: Script, remedies: str
) -> None:
    async def main() -> None:
        config = NATIVE.replace("chat: {{chain: [tiny, other], ", f"chat: {{{{chain: [tiny, other], {remedies}")
        async with open_gateway(redis_url, tmp_path, REFUSED, last, config=config) as gateway:
            reply = await gateway.chat()
        body = reply.json()
        assert (reply.status_code, body["choices"][0]["message"]["refusal"]) == (200, WORDS)
        assert (body["openfall"]["refused"], body["openfall"]["model_used"]) == (True, "tiny")
        assert "it refused, and no other model answers" in body["openfall"]["selection_reason"]

    run(main)


def test_a_role_that_accepts_refusals_asks_no_other_model(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        config = NATIVE.replace("chat: {{chain: [tiny, other], ", ACCEPTING)
        async with open_gateway(redis_url, tmp_path, REFUSED, config=config) as gateway:
            body = (await gateway.chat()).json()
            assert len(gateway.upstream.calls_received) == 1
        assert body["choices"][0]["message"]["refusal"] == WORDS
        assert body["openfall"]["refused"] is True

    run(main)


@pytest.mark.parametrize("script", [answer(native(REFUSAL)), whole_stream(REFUSAL)], ids=["whole", "streamed"])
def test_a_refusal_of_a_provider_of_responses_keeps_its_form(redis_url: str, tmp_path: Path, script: Script) -> None:
    async def main() -> None:
        config = NATIVE.replace("chat: {{chain: [tiny, other], ", ACCEPTING)
        async with open_gateway(redis_url, tmp_path, script, config=config) as gateway:
            sent = await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x", "stream": True})
        last = [json.loads(line[6:]) for line in sent.text.splitlines() if line.startswith("data: {")][-1]
        assert (last["type"], last["response"]["output"]) == ("response.completed", [REFUSAL])

    run(main)


def test_a_refusal_of_anthropic_without_words_is_said_to_be_one(redis_url: str, tmp_path: Path) -> None:
    begun = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    script = named_events(
        {"type": "message_start", "message": begun},
        {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_sequence": None}, "usage": {}},
        {"type": "message_stop"},
    )

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, script, protocol="anthropic") as gateway:
            chat = (await gateway.chat()).json()
            message = await gateway.http.post("/v1/messages", json={"model": "chat", "messages": ASK, "max_tokens": 9})
        assert chat["choices"][0]["message"]["refusal"] == "The model refused to answer."
        assert (message.status_code, message.json()["stop_reason"]) == (200, "refusal")

    run(main)
