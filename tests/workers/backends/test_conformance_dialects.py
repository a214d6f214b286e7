"""Every caller's dialect through every adapter, against a real engine: the answer is in the caller's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from openfall.router_core.catalog.backend_entry import Protocol
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import TRANSLATORS
from tests.faults import Asked, answer, fault_server
from tests.workers.backends.protocol_clients import DIALECTS, PROTOCOLS, adapter, adapter_to, request, request_body, run
from tests.workers.backends.received import texts_into
from tests.workers.backends.test_faults import CHAT, COMPLETION, MESSAGE
from tests.workers.backends.translate.official import completion, message

every = pytest.mark.parametrize("protocol", PROTOCOLS)
callers = pytest.mark.parametrize("dialect", DIALECTS)
both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

ENDED: dict[Dialect, tuple[str, str]] = {
    "openai": ("stop", "length"),
    "anthropic": ("end_turn", "max_tokens"),
    "ollama": ("stop", "length"),
    "responses": ("completed", "max_output_tokens"),
}


def read(dialect: Dialect, body: Any) -> tuple[str, str, int]:
    """The text, the reason of its end and the tokens written, where a reader of the dialect looks for them."""
    match dialect:
        case "openai":
            result = completion({key: body[key] for key in ("id", "object", "created", "model", "choices", "usage")})
            assert result.usage is not None
            return (
                str(result.choices[0].message.content),
                result.choices[0].finish_reason,
                result.usage.completion_tokens,
            )
        case "anthropic":
            block = message(body)
            text = "".join(item.text for item in block.content if item.type == "text")
            return text, str(block.stop_reason), block.usage.output_tokens
        case "ollama":
            assert body["done"] is True
            return body["message"]["content"], body["done_reason"], body["eval_count"]
        case "responses":
            answer_ = Response.model_validate(body)
            assert answer_.usage is not None
            reason = answer_.incomplete_details.reason if answer_.incomplete_details else answer_.status
            return answer_.output_text, str(reason), answer_.usage.output_tokens


@both
@callers
@every
def test_an_answer_is_in_the_callers_dialect(protocol: Protocol, dialect: Dialect, streamed: bool, engine: str) -> None:
    deltas: list[str] = []

    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            return await backend.complete(request(dialect), texts_into(deltas if streamed else None))

    outcome = run(work())
    assert isinstance(outcome, Completion), outcome
    text, finish, written = read(dialect, outcome.body)
    assert (text, finish, written) == (outcome.text, outcome.finish_reason, outcome.usage.output_tokens)
    assert text
    assert finish in ENDED[dialect]
    assert "".join(deltas) == (text if streamed else "")


@callers
@every
def test_a_reached_limit_has_the_finish_reason_of_the_callers_dialect(
    protocol: Protocol, dialect: Dialect, engine: str
) -> None:
    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            return await backend.complete(request(dialect, "Tell a very long story.", limit=3))

    outcome = run(work())
    assert isinstance(outcome, Completion), outcome
    assert (outcome.usage.output_tokens, outcome.finish_reason) == (3, ENDED[dialect][1])


@pytest.mark.parametrize("protocol", ["openai", "ollama"])  # the engine's /v1/messages takes no notice of a schema
@callers
def test_a_schema_holds_in_every_dialect(protocol: Protocol, dialect: Dialect, engine: str) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [4, 5]}}, "required": ["n"], "additionalProperties": False}
    wished: dict[Dialect, dict[str, Any]] = {
        "openai": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}},
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "ollama": {"format": schema},
        "responses": {"text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}},
    }

    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            return await backend.complete(request(dialect, limit=40, **wished[dialect]))

    outcome = run(work())
    assert isinstance(outcome, Completion), outcome
    assert json.loads(outcome.text)["n"] in {4, 5}


ARGUMENTS = {"at": "sky", "times": [1, 2]}
CALLED: dict[Protocol, dict[str, Any]] = {
    "openai": COMPLETION | {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": json.dumps(ARGUMENTS)}},
            {"id": "call_2", "type": "function", "function": {"name": "wave", "arguments": "{}"}},
        ]}}]},
    "anthropic": MESSAGE | {"stop_reason": "tool_use", "content": [
        {"type": "tool_use", "id": "call_1", "name": "look", "input": ARGUMENTS},
        {"type": "tool_use", "id": "call_2", "name": "wave", "input": {}},
    ]},
    "ollama": CHAT | {"message": {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call_1", "function": {"index": 0, "name": "look", "arguments": ARGUMENTS}},
        {"id": "call_2", "function": {"index": 1, "name": "wave", "arguments": {}}},
    ]}},
}  # fmt: skip
"""Parallel calls in each protocol. The toy model makes none."""


def calls(dialect: Dialect, body: Any) -> list[tuple[str, str, Any]]:
    match dialect:
        case "openai":
            result = body["choices"][0]["message"]["tool_calls"]
            return [
                (item["id"], item["function"]["name"], json.loads(item["function"]["arguments"])) for item in result
            ]
        case "anthropic":
            return [(item["id"], item["name"], item["input"]) for item in body["content"] if item["type"] == "tool_use"]
        case "ollama":
            result = body["message"]["tool_calls"]
            return [(item["id"], item["function"]["name"], item["function"]["arguments"]) for item in result]
        case "responses":
            made = [item for item in body["output"] if item["type"] == "function_call"]
            return [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in made]


@callers
@every
def test_parallel_calls_reach_every_caller_in_its_dialect(protocol: Protocol, dialect: Dialect) -> None:
    async def work() -> Any:
        async with fault_server(answer(CALLED[protocol])) as server, adapter(protocol, server.url) as backend:
            return await backend.complete(request(dialect))

    outcome = run(work())
    assert isinstance(outcome, Completion)
    assert calls(dialect, outcome.body) == [("call_1", "look", ARGUMENTS), ("call_2", "wave", {})]


SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
USING: dict[Dialect, dict[str, Any]] = {
    "openai": {"tools": [FUNCTION], "messages": [
        {"role": "user", "content": "Look up."},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a lantern"},
    ]},
    "anthropic": {"tools": [{"name": "look", "input_schema": SCHEMA}], "messages": [
        {"role": "user", "content": "Look up."},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sky"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "a lantern"}]},
    ]},
    "ollama": {"tools": [FUNCTION], "messages": [
        {"role": "user", "content": "Look up."},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "function": {"name": "look", "arguments": {"at": "sky"}}}]},
        {"role": "tool", "tool_call_id": "call_1", "tool_name": "look", "content": "a lantern"},
    ]},
    "responses": {"tools": [{"type": "function", "name": "look", "parameters": SCHEMA}], "input": [
        {"role": "user", "content": "Look up."},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at":"sky"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "a lantern"},
    ]},
}  # fmt: skip
"""A second turn after a call, in each dialect."""


def sent(protocol: Protocol, dialect: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """What reaches a server of that protocol."""

    async def work() -> Asked:
        async with fault_server(answer(CALLED[protocol])) as server, adapter(protocol, server.url) as backend:
            call = Request(body=body, upstream="m", timeout=60, dialect=dialect, max_tokens=64, ctx=512)
            assert isinstance(await backend.complete(call), Completion)
            return server.calls_received[0]

    result: dict[str, Any] = json.loads(run(work()).body)
    return result


@callers
@every
def test_the_result_of_a_tool_reaches_every_server_in_its_dialect(protocol: Protocol, dialect: Dialect) -> None:
    result = sent(protocol, dialect, USING[dialect])
    assert result["messages"] == USING[protocol]["messages"]
    assert result["tools"] == USING[protocol]["tools"]


@every
def test_the_engine_takes_the_result_of_a_tool(protocol: Protocol, engine: str) -> None:
    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            body = request_body(protocol, "", 8) | {"messages": USING[protocol]["messages"]}
            return await backend.complete(
                Request(body=body, upstream="smollm2", timeout=60, dialect=protocol, ctx=1024)
            )

    outcome = run(work())
    assert isinstance(outcome, Completion), outcome
    assert outcome.text


@every
def test_a_body_in_the_servers_own_dialect_keeps_vendor_parameters(protocol: Protocol) -> None:
    own = USING[protocol] | {"vendor": {"extra": [1, None, "ü", 2**40]}, "max_tokens": 5}
    result = sent(protocol, protocol, own)
    assert {key: result[key] for key in own} == own


@pytest.mark.parametrize(("dialect", "protocol"), TRANSLATORS)  # in its own dialect it is the server's to judge
def test_an_invalid_body_is_the_callers_fault_and_nothing_is_sent(dialect: Dialect, protocol: Protocol) -> None:
    async def work() -> tuple[Any, int]:
        async with fault_server(answer(CALLED[protocol])) as server, adapter(protocol, server.url) as backend:
            outcome = await backend.complete(
                Request(body={"messages": 3, "input": 3}, upstream="m", timeout=60, dialect=dialect)
            )
            return outcome, len(server.calls_received)

    outcome, calls = run(work())
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, calls) == (E.BAD_REQUEST, 0)
