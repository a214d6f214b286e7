"""A caller's dialect and a backend's that differ: the call goes out in the one, the answer comes back in the other."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from tests.faults import COMPLETION, FaultServer, Script, answer, events, fault_server, head, piece, raw
from tests.workers.backends.received import texts_into
from tests.workers.backends.translate.official import completion, message

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}, {"type": "text", "text": "A lantern."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 38, "output_tokens": 5},
}
STREAMED: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "A lan"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "tern."}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def sse(*result: dict[str, Any]) -> Script:
    data = b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in result)
    return raw(head(200, None, {"Content-Type": "text/event-stream"}) + data)


def complete_at(
    protocol: Protocol, dialect: Dialect, script: Script, deltas: list[str] | None = None, **body: Any
) -> tuple[Outcome, FaultServer]:
    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(script) as server:
            backend = open_backend(Backend(url=server.url, pool="gpu", protocol=protocol))
            request = Request(body={**HI, **body}, upstream="theirs", timeout=60, dialect=dialect)
            try:
                return await backend.complete(request, texts_into(deltas)), server
            finally:
                await backend.close()

    return asyncio.run(asyncio.wait_for(work(), 60))


def test_an_openai_caller_is_answered_by_an_anthropic_backend() -> None:
    outcome, server = complete_at("anthropic", "openai", answer(MESSAGE), stop="END", temperature=2, seed=1)
    sent = orjson.loads(server.calls_received[0].body)
    assert sent == HI | {"model": "theirs", "max_tokens": 4096, "stop_sequences": ["END"], "temperature": 1.0}
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.finish_reason, outcome.usage.input_tokens) == ("A lantern.", "stop", 41)
    body = completion(outcome.body)
    assert (body.choices[0].message.content, body.choices[0].finish_reason) == ("A lantern.", "stop")


def test_an_anthropic_caller_is_answered_by_an_openai_backend() -> None:
    outcome, server = complete_at("openai", "anthropic", answer(COMPLETION), system="Be brief.", max_tokens=9)
    sent = orjson.loads(server.calls_received[0].body)
    result = [{"role": "system", "content": "Be brief."}, *HI["messages"]]
    assert sent == {"messages": result, "model": "theirs", "max_tokens": 9}
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.finish_reason, outcome.usage.input_tokens) == ("A lantern festival.", "end_turn", 41)
    assert message(outcome.body).content[0].model_dump() == {
        "type": "text", "text": "A lantern festival.", "citations": None,
    }  # fmt: skip


def test_deltas_carry_only_text_and_the_answer_is_whole() -> None:
    deltas: list[str] = []
    streamed, server = complete_at("anthropic", "openai", sse(*STREAMED), deltas)
    assert orjson.loads(server.calls_received[0].body)["stream"] is True
    assert deltas == ["A lan", "tern."]
    assert streamed == complete_at("anthropic", "openai", answer(MESSAGE))[0]

    deltas.clear()
    chunks = [piece(role="assistant", reasoning_content="Hm."), piece(content="A lantern."), piece("stop")]
    outcome, _ = complete_at("openai", "anthropic", events(*chunks), deltas)
    assert isinstance(outcome, Completion)
    assert deltas == ["A lantern."]
    assert [block.type for block in message(outcome.body).content] == ["thinking", "text"]


@pytest.mark.parametrize(("protocol", "dialect"), [("anthropic", "openai"), ("openai", "anthropic")])
def test_a_failure_is_the_same_in_every_dialect(protocol: Protocol, dialect: Dialect) -> None:
    script = answer({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 529)
    outcome, _ = complete_at(protocol, dialect, script)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.OVERLOADED


def test_an_untranslatable_request_is_not_sent() -> None:
    outcome, server = complete_at("anthropic", "openai", answer(MESSAGE), n=3)
    assert outcome == Failure(error_class=ErrorClass.UNSUPPORTED, detail="this model does not support n")
    assert server.calls_received == []


def test_a_tool_call_that_the_callers_dialect_cannot_carry_is_invalid_output() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{nope"}}
    result = {"message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    outcome, _ = complete_at("openai", "anthropic", answer(COMPLETION | {"choices": [result]}))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.INVALID_OUTPUT
