"""The requirements on every backend, with a real engine: the same requests, the same checks of the answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Protocol
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.call_request import Request
from tests.fakes.ollama import FakeModel, ollama_fake
from tests.workers.backends.protocol_clients import (
    MODEL,
    PROTOCOLS,
    adapter,
    adapter_to,
    idle,
    request,
    run,
    shape,
    slots,
)
from tests.workers.backends.received import texts_into

pytestmark = pytest.mark.parametrize("protocol", PROTOCOLS)

ENDED = {"openai": "stop", "anthropic": "end_turn", "ollama": "stop"}
CUT = {"openai": "length", "anthropic": "max_tokens", "ollama": "length"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LONGEST = 900
LONG = "Write a very long story about a lantern festival. Tell every detail, and do not stop."


def completed(outcome: Any) -> Completion:
    assert isinstance(outcome, Completion), outcome
    return outcome


def text_of(protocol: Protocol, body: Any) -> str:
    """The text where a reader of that dialect looks for it."""
    match protocol:
        case "openai":
            return str(body["choices"][0]["message"]["content"])
        case "anthropic":
            return "".join(block["text"] for block in body["content"] if block["type"] == "text")
        case "ollama":
            return str(body["message"]["content"])


def test_a_plain_question_is_answered_and_counted(protocol: Protocol, engine: str) -> None:
    async def work() -> Completion:
        async with adapter_to(protocol, engine) as backend:
            return completed(await backend.complete(request(protocol, "Say hello.", limit=200)))

    answer = run(work())
    assert answer.text
    assert text_of(protocol, answer.body) == answer.text
    assert answer.finish_reason == ENDED[protocol]
    assert answer.usage.input_tokens is not None
    assert answer.usage.input_tokens > 10
    assert answer.usage.output_tokens is not None
    assert answer.usage.output_tokens >= len(answer.text.split()) > 0


def test_a_stream_becomes_what_the_same_call_without_one_gives(protocol: Protocol, engine: str) -> None:
    deltas: list[str] = []

    async def work() -> tuple[Completion, Completion]:
        async with adapter_to(protocol, engine) as backend:
            whole = completed(await backend.complete(request(protocol)))
            return whole, completed(await backend.complete(request(protocol), texts_into(deltas)))

    whole, streamed = run(work())
    assert len(deltas) > 1
    assert "".join(deltas) == streamed.text == text_of(protocol, streamed.body)
    assert shape(streamed.body) == shape(whole.body)
    assert streamed.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_the_token_limit_holds_and_is_the_finish_reason(
    protocol: Protocol, engine: str, deltas: list[str] | None
) -> None:
    async def work() -> Completion:
        async with adapter_to(protocol, engine) as backend:
            call = request(protocol, LONG, limit=3)
            return completed(await backend.complete(call, texts_into(deltas)))

    answer = run(work())
    assert (answer.usage.output_tokens, answer.finish_reason) == (3, CUT[protocol])


def test_the_models_limit_holds_where_the_caller_names_none(protocol: Protocol, engine: str) -> None:
    async def work() -> Completion:
        async with adapter_to(protocol, engine) as backend:
            body = {"messages": [{"role": "user", "content": LONG}]}
            call = Request(body=body, upstream=MODEL, timeout=60, dialect=protocol, max_tokens=4, ctx=1024)
            return completed(await backend.complete(call))

    answer = run(work())
    assert (answer.usage.output_tokens, answer.finish_reason) == (4, CUT[protocol])


def test_an_image_for_a_model_without_vision_is_unsupported(protocol: Protocol, engine: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts: dict[str, dict[str, Any]] = {
        "openai": {"content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
        "anthropic": {"content": [{"type": "image", "source": source}]},
        "ollama": {"content": "What is this?", "images": [PIXEL]},
    }

    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            body = {"messages": [{"role": "user", **parts[protocol]}]}
            return await backend.complete(Request(body=body, upstream=MODEL, timeout=30, dialect=protocol, ctx=1024))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.UNSUPPORTED


def test_a_prompt_that_does_not_fit_is_an_overflow_and_never_truncated(protocol: Protocol, engine: str) -> None:
    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            return await backend.complete(request(protocol, "lantern " * 1500))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.CONTEXT_OVERFLOW
    assert "lantern lantern" not in outcome.detail


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_an_unknown_model_is_not_installed(protocol: Protocol, engine: str, deltas: list[str] | None) -> None:
    async def work() -> Any:  # at the fake, which speaks all three: the engine takes any name for its own
        async with ollama_fake(engine, [FakeModel(MODEL)]) as fake, adapter(protocol, fake.url) as backend:
            call = Request(body=request(protocol).body, upstream="absent", timeout=30, dialect=protocol, max_tokens=4)
            return await backend.complete(call, texts_into(deltas))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.NOT_INSTALLED


def test_a_cancelled_call_hangs_up_and_the_engine_stops(protocol: Protocol, engine: str) -> None:
    """Only streams: the engine writes an unstreamed answer to its end, even without a client."""
    began = asyncio.Event()

    async def work() -> int:
        async with adapter_to(protocol, engine) as backend:
            await idle(engine)
            call = request(protocol, LONG, limit=LONGEST)
            task = asyncio.create_task(backend.complete(call, lambda _text: began.set()))
            await began.wait()
            [slot] = [slot["id"] for slot in await slots(engine) if slot["is_processing"]]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await idle(engine)
            return int((await slots(engine))[slot]["n_prompt_tokens"])  # those of the answer too

    assert 0 < run(work()) < LONGEST / 2


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_a_call_ends_at_its_timeout(protocol: Protocol, engine: str, deltas: list[str] | None) -> None:
    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            call = request(protocol, LONG, limit=300, timeout=0.2)
            return await backend.complete(call, texts_into(deltas))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.TIMEOUT


def test_the_endpoint_is_alive_and_names_its_model(protocol: Protocol, engine: str) -> None:
    async def work() -> tuple[Failure | None, Any]:
        async with adapter_to(protocol, engine) as backend:
            return await backend.check_alive(10), await backend.list_models(10)

    alive, models = run(work())
    assert alive is None
    assert MODEL in models


def test_an_endpoint_that_does_not_listen_is_a_connection_failure(protocol: Protocol) -> None:
    async def work() -> tuple[Any, Any]:
        async with adapter(protocol, "http://127.0.0.1:9") as backend:
            return await backend.check_alive(10), await backend.list_models(10)

    for outcome in run(work()):
        assert isinstance(outcome, Failure)
        assert outcome.error_class is E.CONNECTION
