"""The Anthropic backend over real sockets: its requests, and its outcomes of whole and streamed answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Completion
from openfall.workers.backends.anthropic_client import MAX_TOKENS
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.usage import read_message_usage
from tests.faults import answer, fault_server
from tests.workers.backends.anthropic_calls import (
    END,
    HELLO,
    KEY,
    MESSAGE,
    PING,
    REQUEST_BODY,
    block,
    run,
    sent,
    served,
    sse,
    start,
    stop,
)
from tests.workers.backends.openai_calls import RedirectedTransport


def test_an_answer_is_the_whole_message_and_its_prompt_count_includes_cached_tokens() -> None:
    outcome, server = served(answer(MESSAGE))
    assert outcome == Completion(
        text="A lantern festival.", finish_reason="end_turn", usage=read_message_usage(MESSAGE), body=MESSAGE,
    )  # fmt: skip
    [received] = server.calls_received
    assert received.path == "/v1/messages"
    assert received.headers["x-api-key"] == KEY
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert received.headers["authorization"] == f"Bearer {KEY}"


def test_anthropic_itself_gets_the_key_in_one_header_only() -> None:
    async def work() -> None:
        spec = Backend(url="https://api.anthropic.com", pool="cloud", protocol="anthropic", api_key=SecretStr(KEY))
        async with fault_server(answer(MESSAGE)) as server:
            transport = RedirectedTransport(server)
            backend = open_backend(spec, transport)
            try:
                outcome = await backend.complete(
                    Request(body=REQUEST_BODY, upstream="m", timeout=60, dialect="anthropic")
                )
            finally:
                await backend.close()
        assert isinstance(outcome, Completion)
        assert list(map(str, transport.urls)) == ["https://api.anthropic.com/v1/messages"]
        assert server.calls_received[0].headers["x-api-key"] == KEY
        assert "authorization" not in server.calls_received[0].headers

    run(work())


def test_a_token_is_sent_as_a_bearer_token_and_nothing_else() -> None:
    async def work(**credentials: Any) -> dict[str, str]:
        spec = Backend(url="https://api.anthropic.com", pool="cloud", protocol="anthropic", **credentials)
        async with fault_server(answer(MESSAGE)) as server:
            backend = open_backend(spec, RedirectedTransport(server))
            try:
                await backend.complete(Request(body=REQUEST_BODY, upstream="m", timeout=60, dialect="anthropic"))
            finally:
                await backend.close()
            return server.calls_received[0].headers

    for credentials in ({"auth_token": "t0ken"}, {"auth_token": "t0ken", "api_key": KEY}):
        headers = run(work(**credentials))
        assert headers["authorization"] == "Bearer t0ken"
        assert "x-api-key" not in headers


FULL: dict[str, Any] = {
    "model": "ours",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "Speak as Haruka.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "metadata": {"user_id": "u-1"},
    "tools": [
        {"name": "look", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "document", "source": {"type": "url", "url": "https://h/x"}, "citations": {"enabled": True}},
                {"type": "text", "text": "What does the sky look like?", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look up.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h=="},
                {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"},
                {"type": "tool_use", "id": "toolu_01", "name": "look", "input": {"at": "sky", "n": 1.0, "z": None}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": [{"type": "text", "text": "stars"}],
                 "is_error": False}
            ],
        },
    ],
    "vendor": {"extra": [1, None, "ü"]},
}  # fmt: skip


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_the_body_passes_byte_for_byte_but_for_the_model_and_the_stream(deltas: list[str] | None) -> None:
    _, server = served(answer(MESSAGE), body=FULL | {"stream": deltas is None}, deltas=deltas)
    streamed = {} if deltas is None else {"stream": True}
    assert server.calls_received[0].body == orjson.dumps(FULL | {"model": "claude"} | streamed)


def test_a_missing_limit_is_added() -> None:
    body = {"messages": REQUEST_BODY["messages"]}
    assert sent(body=body)["max_tokens"] == 77
    assert sent(body=body, max_tokens=None)["max_tokens"] == MAX_TOKENS
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 9000}}
    assert sent(body=body | thinking)["max_tokens"] == 9077
    assert sent(body=REQUEST_BODY)["max_tokens"] == 64


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({}, {"temperature": 0.5, "top_p": 0.9, "top_k": 3}),
        ({"sampling_params": False}, {}),
        ({"version": "2026-10-21"}, {}),
        ({"version": "2023-06-01", "sampling_params": False}, {}),
    ],
)
def test_parameters_that_a_model_or_a_version_refuses_are_omitted(result: dict[str, Any], kept: dict[str, Any]) -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 3}
    body = sent(body=REQUEST_BODY | sampling, **result)
    assert {key: value for key, value in body.items() if key in sampling} == kept


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_stream_becomes_the_message_that_the_same_call_without_one_has(newline: bytes) -> None:
    deltas: list[str] = []
    pieces = [
        start(),
        PING,
        *block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("A lan", "tern "))),
        {"type": "an_event_of_next_year", "index": 0, "surprise": True},
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "festival."}, {"type": "new_delta"}),
        stop("end_turn"),
        END,
    ]
    outcome, _ = served(sse(*pieces, newline=newline), deltas=deltas)
    assert deltas == ["A lan", "tern ", "festival."]
    assert outcome == served(answer(MESSAGE))[0]


def test_thinking_signatures_citations_and_tools_are_assembled() -> None:
    cited = {"type": "char_location", "cited_text": "stars", "document_index": 0}
    deltas: list[str] = []
    pieces = [
        start(),
        *block(
            0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Look "},
            {"type": "thinking_delta", "thinking": "up."}, {"type": "signature_delta", "signature": "EqQB=="},
        ),
        *block(1, {"type": "redacted_thinking", "data": "Emw"}),
        *block(
            2, {"type": "text", "text": "", "citations": None}, {"type": "citations_delta", "citation": cited},
            {"type": "text_delta", "text": "Stars"}, {"type": "citations_delta", "citation": cited},
        ),
        *block(
            3, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
            *({"type": "input_json_delta", "partial_json": part} for part in ("", '{"at":', '"sky"}')),
        ),
        *block(4, {"type": "tool_use", "id": "toolu_2", "name": "wave", "input": {}}),
        stop("tool_use"),
        END,
    ]  # fmt: skip
    outcome, _ = served(sse(*pieces), deltas=deltas)
    assert isinstance(outcome, Completion)
    assert outcome.body["content"] == [
        {"type": "thinking", "thinking": "Look up.", "signature": "EqQB=="},
        {"type": "redacted_thinking", "data": "Emw"},
        {"type": "text", "text": "Stars", "citations": [cited, cited]},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
        {"type": "tool_use", "id": "toolu_2", "name": "wave", "input": {}},
    ]
    assert (deltas, outcome.text, outcome.finish_reason) == (["Stars"], "Stars", "tool_use")


def test_the_usage_at_the_end_replaces_that_of_the_start() -> None:
    final = stop("end_turn") | {"usage": {"output_tokens": 9, "input_tokens": 4, "cache_read_input_tokens": 100}}
    outcome, _ = served(sse(start(), *HELLO, final, END), deltas=[])
    assert isinstance(outcome, Completion)
    assert outcome.text == "Hello"
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.usage.cache_read_tokens) == (124, 9, 100)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn"])
def test_an_answer_keeps_its_finish_reason(reason: str) -> None:
    outcome, _ = served(answer(MESSAGE | {"stop_reason": reason}))
    assert isinstance(outcome, Completion)
    assert outcome.finish_reason == reason


def test_a_tool_input_that_the_limit_cut_off_is_an_answer_with_that_stop_reason() -> None:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    cut_off = block(0, tool, {"type": "input_json_delta", "partial_json": '{"at":'})
    outcome, _ = served(sse(start(), *cut_off, stop("max_tokens"), END), deltas=[])
    assert isinstance(outcome, Completion)
    assert (outcome.finish_reason, outcome.body["content"]) == ("max_tokens", [tool])


def test_a_finished_stream_is_whole_without_its_last_event() -> None:
    outcome, _ = served(sse(start(), *block(0, {"type": "text", "text": "Hi"}), stop("end_turn")), deltas=[])
    assert isinstance(outcome, Completion)
