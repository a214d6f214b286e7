"""Requests in the forms that programs send: each is answered, and its model gets what the caller meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.jobs.request_body import get_schema, wants_schema
from openfall.router_core.jobs.request_json import loads_request
from openfall.workers.backends.translate import request_for_anthropic, request_for_openai
from tests.faults import COMPLETION, MESSAGE, answer
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

WEI = 115792089237316195423570985008687907853269984665640564039457584007913129639935
CALL = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": f'{{"wei": {WEI}}}'}}
CALLING = {
    **COMPLETION,
    "choices": [{"index": 0, "message": {**MESSAGE, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
}
TOOL = {"name": "send", "parameters": {"type": "object"}}
TURNS: dict[str, list[dict[str, Any]]] = {
    "/v1/messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "send", "input": {"wei": WEI}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sent"}]},
    ],
    "/api/chat": [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "send", "arguments": {"wei": WEI}}}]},
        {"role": "tool", "content": "sent"},
    ],
}
TOOLS: dict[str, dict[str, Any]] = {
    "/v1/messages": {"tools": [{"name": "send", "input_schema": {"type": "object"}}], "max_tokens": 9},
    "/api/chat": {"tools": [{"type": "function", "function": TOOL}], "stream": False},
    "/v1/chat/completions": {"tools": [{"type": "function", "function": TOOL}]},
    "/v1/responses": {"tools": [{"type": "function", **TOOL}], "input": "x"},
}


def _received(gateway: RunningGateway) -> Any:
    """What the upstream has received last."""
    return loads_request(gateway.upstream.calls_received[-1].body)


def test_an_integer_of_any_length_arrives_digit_for_digit_in_every_api(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(CALLING)) as gateway:
            for path, options in TOOLS.items():
                body = {"model": "tiny", "messages": [*SAY["messages"], *TURNS.get(path, [])], **options}
                if "input" in body:
                    del body["messages"]
                response = await gateway.http.post(path, json=body)
                assert (response.status_code, str(WEI) in response.text) == (200, True), (path, response.text[:200])
                job = await gateway.http.get(f"/v1/jobs/{response.headers['x-openfall-job']}")
                assert (job.status_code, str(WEI) in job.text) == (200, True), path
                if path in TURNS:
                    calls = [call for turn in _received(gateway)["messages"] for call in turn.get("tool_calls", ())]
                    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"wei": WEI}], path

    run(main)


SENT: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, Any]]] = {
    "no limit, as LM Studio and n8n write it": ({"max_tokens": -1}, {}, {"max_tokens": None}),
    "no limit, by its newer name": ({"max_completion_tokens": -1}, {}, {"max_completion_tokens": None}),
    "a character set for an encoding": ({}, {"content-encoding": "UTF-8"}, {}),
}


def test_what_other_servers_take_is_answered(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            for name, (fields, headers, expected) in SENT.items():
                body = {"model": "tiny", **SAY, **fields}
                response = await gateway.http.post("/v1/chat/completions", json=body, headers=headers)
                assert response.status_code == 200, (name, response.text)
                received = _received(gateway)
                assert {key: received.get(key) for key in expected} == expected, name
            raw = b'{"model": "tiny", "messages": [{"role": "user", "content": "Tag \\ud83d"}]}'
            for path, field in (("/v1/chat/completions", b""), ("/v1/messages", b'"max_tokens": 9, ')):
                response = await gateway.http.post(path, content=raw.replace(b'"model"', field + b'"model"'))
                assert response.status_code == 200, response.text
                assert _received(gateway)["messages"][0]["content"] == "Tag \ufffd"
            empty = {"model": "tiny", "input": "x", "previous_response_id": ""}
            assert (await gateway.http.post("/v1/responses", json=empty)).status_code == 200

    run(main)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d"', "\ufffd"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00 \uD83D"', "\U0001f600 \ufffd"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (rb'"\\\ud83d\u00e9\n"', "\\\ufffdé\n"),
        (rb'{"\udfff": 1}', {"\ufffd": 1}),
        (str(WEI).encode(), WEI),
    ],
)
def test_half_a_character_is_replaced_and_every_whole_one_stays(text: bytes, value: object) -> None:
    assert loads_request(text) == value


@pytest.mark.parametrize("text", [b"", b"{", b'"\\ud83d', b'"\\u12"', b'"\xff"', b"NaN", rb'{"a": "\ud83d", }'])
def test_what_is_no_json_stays_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line \d+ column \d+"):
        loads_request(text, allow_inf_nan=False)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False, "required": ["a"]}


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "json_object", "schema": SCHEMA},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    ],
    ids=["llama-server, Fireworks, Cohere", "Together", "OpenAI"],
)
def test_a_schema_is_read_wherever_servers_of_openais_protocol_have_it(wanted: Any) -> None:
    body = {**SAY, "response_format": wanted}
    assert (wants_schema(body), get_schema(body)) == (True, SCHEMA)
    assert request_for_anthropic.request(body)["output_config"]["format"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stop": ""}, {}),
        ({"stop": ["", "END"]}, {"stop_sequences": ["END"]}),
        ({"messages": [{"role": "user", "content": ""}]}, {"messages": [{"role": "user", "content": "."}]}),
    ],
)
def test_an_empty_text_of_a_form_is_nothing_that_anthropic_refuses(fields: Any, expected: Any) -> None:
    body = request_for_anthropic.request({**SAY, **fields})
    assert {name: body.get(name) for name in ("stop_sequences", *expected)} == {"stop_sequences": None, **expected}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "developer", "content": "Be kind."}]}, {"role": "system", "content": "Be kind."}),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "fallback"}, {"type": "text", "text": "A"}]}]},
            {"role": "assistant", "content": "A"},
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "compaction", "content": "They met."}]}]},
            {"role": "assistant", "content": "They met.\n\n"},
        ),
    ],
)
def test_what_only_claude_writes_into_a_conversation_stops_no_other_model(body: Any, expected: Any) -> None:
    assert request_for_openai.request(body)["messages"] == [expected]


def test_a_tool_that_finds_the_others_is_left_out_since_all_of_them_are_sent() -> None:
    tools = [{"type": "tool_search_tool_bm25_20251119", "name": "find"}, {"name": "f", "input_schema": {}}]
    body = request_for_openai.request({**SAY, "tools": tools})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
