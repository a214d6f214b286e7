"""Health checks: which answers make sense, and what a check costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.backend_entry import Protocol
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import CallSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.health_check import (
    MAX_TOKENS,
    PROMPT,
    Health,
    check,
    find_flaw,
    health_prompt,
    probe,
    probe_timeout,
)
from tests.fakes.ollama import FakeModel, OllamaFake, ollama_fake
from tests.faults import COMPLETION, Script, answer, fault_server, stall
from tests.workers.backends.protocol_clients import MODEL, PROTOCOLS, adapter, adapter_to, run

SPEC = ModelSpec(upstream=MODEL, backends=("box",), context=512)


def completion(text: str, finish: str = "stop", **message: Any) -> Completion:
    body = {"choices": [{"message": {"content": text, **message}, "finish_reason": finish}]}
    return Completion(text=text, finish_reason=finish, body=body)


@pytest.mark.parametrize(
    "text",
    [
        "ready",
        "Ready.",
        " ready\n",
        "I'm ready.",
        "準備完了",
        "готово",
        "1",
        "ok 👍🏽",
        "The error is gone: ready",
        "Error-free and ready.",
        '{"error": null, "answer": "ready"}',
        "好好好好",
        "aaa b",
        "👍",
        "...",
        "?!",
        "",
        " \n\t",
    ],
)
def test_a_plain_answer_makes_sense_in_any_language_and_need_not_be_right(text: str) -> None:
    assert find_flaw(completion(text)) is None
    assert find_flaw(completion(text, "length")) is None


@pytest.mark.parametrize(
    "text",
    [
        "!!!!!!!!", "GGGGGGGGGGGGGGGG", "G G G G G", "\ufffd\ufffd\ufffdok", "\x00\x01\x02abc",
        "<html><body>502</body></html>", "<!DOCTYPE html>", '{"error": {"message": "boom"}}', "Error: CUDA error",
        "Internal Server Error", "error", "Error 502", "Traceback (most recent call last):", "\ue000\ue001\ue002ab",
    ],
)  # fmt: skip
def test_an_answer_that_no_healthy_model_gives_makes_no_sense(text: str) -> None:
    assert find_flaw(completion(text))


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "end_turn"])
def test_whatever_a_job_would_take_for_an_answer_is_a_sign_of_health(finish: str) -> None:
    assert find_flaw(completion("ready", finish)) is None
    assert find_flaw(completion("", finish)) is None


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_model_that_spent_its_tokens_on_thinking_is_healthy(name: str) -> None:
    assert find_flaw(completion("", "length", **{name: "The user wants one word"})) is None
    assert find_flaw(completion("", "length", **{name: "!!!!!!"}))


THOUGHT = {"prompt_tokens": 9, "total_tokens": 22}
"""The usage of a model that spent its tokens on thoughts that its provider does not show, nor counts by name."""


def test_a_model_that_only_thinks_passes_its_probe() -> None:
    choice = {"index": 0, "message": {"role": "assistant"}, "finish_reason": "length"}
    assert isinstance(probed(answer({"choices": [choice], "usage": THOUGHT})), Completion)


def test_a_model_with_hidden_reasoning_is_healthy() -> None:
    usage = {"completion_tokens_details": {"reasoning_tokens": 16}}
    assert find_flaw(Completion(text="", finish_reason="length", body={"usage": usage})) is None


@given(st.text(max_size=40), st.sampled_from(["stop", "length", "error"]), st.dictionaries(st.text(), st.integers()))
def test_any_answer_can_be_judged(text: str, finish: str, body: dict[str, int]) -> None:
    assert find_flaw(Completion(text=text, finish_reason=finish, body=body)) in {
        None,
        find_flaw(completion(text, finish)),
    }


def test_the_prompt_has_nothing_but_what_every_call_has_and_room_to_think() -> None:
    request = health_prompt(SPEC)
    assert request.body == {"messages": [{"role": "user", "content": PROMPT}]}
    assert (request.max_tokens, request.ctx, request.upstream) == (MAX_TOKENS, 512, MODEL)
    assert health_prompt(SPEC.model_copy(update={"max_tokens": 99})).max_tokens == 99


def test_a_probe_may_take_as_long_as_loading_takes() -> None:
    assert probe_timeout(SPEC) == 60
    assert probe_timeout(SPEC.model_copy(update={"load_time": 90.0, "timeout": 10.0})) == 100


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_smallest_model_passes_its_probe_in_every_protocol(protocol: Protocol, engine: str) -> None:
    async def work() -> Any:
        async with adapter_to(protocol, engine) as backend:
            return await probe(backend, SPEC)

    outcome = run(work())
    assert isinstance(outcome, Completion), outcome
    assert outcome.usage.output_tokens is not None
    assert outcome.usage.output_tokens <= MAX_TOKENS


def probed(script: Script) -> Any:
    async def work() -> Any:
        async with fault_server(script) as server, adapter("openai", server.url) as backend:
            return await probe(backend, SPEC.model_copy(update={"timeout": 0.4}))

    return run(work())


def test_nonsense_counts_against_the_model_and_is_not_repeated() -> None:
    body = COMPLETION | {"choices": [{"index": 0, "message": {"content": "#####"}, "finish_reason": "stop"}]}
    outcome = probed(answer(body))
    assert isinstance(outcome, Failure)
    assert outcome.disposition.breaker is CallSignal.FAILURE
    assert "repeated" in outcome.detail
    assert "##" not in outcome.detail


def test_a_probe_that_gets_no_answer_fails_as_any_call() -> None:
    assert probed(stall).error_class is E.TIMEOUT
    assert probed(answer({"error": "no"}, 401)).error_class is E.AUTH


def checked(fake_model: FakeModel, engine: str, *, warm: bool = False, **how: Any) -> tuple[Health, OllamaFake]:
    async def work() -> tuple[Health, OllamaFake]:
        async with ollama_fake(engine, [fake_model]) as fake, adapter("ollama", fake.url) as backend:
            if warm:
                assert await backend.load(MODEL, SPEC.context, 20) is None
            return await check(backend, SPEC, **how), fake

    return run(work())


def test_a_model_in_memory_gets_the_prompt(engine: str) -> None:
    health, fake = checked(FakeModel(MODEL), engine, warm=True)
    assert (health.ok, health.method, health.loaded, health.detail) == (True, "prompted", True, "")
    assert health.latency > 0
    assert len(fake.memory.loads) == 1


def test_a_model_that_is_not_in_memory_is_not_loaded_for_a_check(engine: str) -> None:
    health, fake = checked(FakeModel(MODEL), engine)
    assert (health.ok, health.method, health.loaded) == (True, "alive", False)
    assert fake.memory.loads == []
    assert not any(path == "/api/chat" for path, _ in fake.calls_received)


def test_force_loads_the_model_and_sends_the_prompt(engine: str) -> None:
    health, fake = checked(FakeModel(MODEL), engine, force=True)
    assert (health.ok, health.method, health.loaded) == (True, "prompted", False)
    assert len(fake.memory.loads) == 1


def test_a_model_partly_on_the_cpu_is_reported(engine: str) -> None:
    health, _ = checked(FakeModel(MODEL, fault="on_cpu"), engine, warm=True)
    assert health.ok
    assert "50%" in health.detail


def test_a_model_that_breaks_while_in_memory_is_unhealthy(engine: str) -> None:
    async def work() -> Health:
        async with ollama_fake(engine, [FakeModel(MODEL)]) as fake, adapter("ollama", fake.url) as backend:
            await backend.load(MODEL, SPEC.context, 20)
            fake.models[f"{MODEL}:latest"].fault = "error_line"
            return await check(backend, SPEC)

    health = run(work())
    assert (health.ok, health.method) == (False, "prompted")
    assert health.failure is not None
    assert health.failure.error_class is E.OVERLOADED


def test_an_unreachable_endpoint_is_unhealthy_without_a_prompt() -> None:
    async def work() -> Health:
        async with adapter("ollama", "http://127.0.0.1:9") as backend:
            return await check(backend, SPEC)

    health = run(work())
    assert (health.ok, health.method, health.loaded) == (False, "alive", None)
    assert health.failure is not None
    assert health.failure.error_class is E.CONNECTION


@pytest.mark.parametrize(
    ("more", "how", "prompts"),
    [({}, "prompted", 1), ({"metered": True}, "alive", 0), ({"metered": True, "force": True}, "prompted", 1)],
)
def test_without_memory_information_the_price_decides(more: dict[str, bool], how: str, prompts: int) -> None:
    async def work() -> tuple[Health, int]:
        async with fault_server(answer(COMPLETION)) as server, adapter("openai", server.url) as backend:
            health = await check(backend, SPEC, **more)
            return health, sum(b"messages" in call.body for call in server.calls_received)

    health, prompts_sent = run(work())
    assert (health.ok, health.method, prompts_sent) == (True, how, prompts)
    assert health.loaded is None
