"""The Ollama backend: its requests, its parsed responses, and the memory of its server."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import CredentialSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.ollama_answer import to_outcome
from tests.fakes.ollama import FakeModel, OllamaFake, ollama_fake
from tests.fakes.ollama_memory import GIB
from tests.faults import Asked, answer, fault_server, lines
from tests.workers.backends.protocol_clients import MODEL, adapter, request, run
from tests.workers.backends.received import texts_into

HELLO = {"role": "user", "content": "Haruka greets the festival crowd"}
CHAT = {
    "model": "m", "created_at": "2026-11-01T10:00:00.123456789Z", "done": True, "done_reason": "stop",
    "message": {"role": "assistant", "content": "A lantern."}, "prompt_eval_count": 7, "eval_count": 3,
}  # fmt: skip
CALL = {"id": "call_ab12cd34", "function": {"index": 0, "name": "look", "arguments": {"at": "sky", "deep": {"n": 1}}}}


def sent(body: dict[str, Any], *, streamed: bool = False, **more: Any) -> tuple[Asked, Outcome]:
    """The request that reached the server, and its outcome."""

    async def work() -> tuple[Asked, Outcome]:
        async with fault_server(answer(CHAT)) as server, adapter("ollama", server.url, api_key="secret-key") as backend:
            call = Request(body=body, upstream="m", timeout=60, dialect="ollama", **more)
            outcome = await backend.complete(call, (lambda _text: None) if streamed else None)
            return server.calls_received[0], outcome

    return run(work())


def test_the_callers_body_is_unchanged_except_for_options_that_keep_its_prompt_whole() -> None:
    own = {
        "model": "ours", "stream": True, "messages": [HELLO | {"images": ["aGk="], "x": 1}], "think": "high",
        "keep_alive": "10m", "format": "json", "options": {"mirostat": 2, "num_keep": 4}, "vendor": [1, None, "ü"],
    }  # fmt: skip
    call, outcome = sent(own, ctx=2048, max_tokens=64)
    assert call.path == "/api/chat"
    assert call.headers["authorization"] == "Bearer secret-key"
    options = {"mirostat": 2, "num_keep": 4, "num_ctx": 2048, "num_predict": 64}
    assert orjson.loads(call.body) == own | {"model": "m", "stream": False, "truncate": False, "options": options}
    assert isinstance(outcome, Completion)
    assert outcome.body == CHAT


def test_the_callers_context_limit_and_truncation_are_kept() -> None:
    own = {"messages": [HELLO], "truncate": True, "options": {"num_ctx": 99, "num_predict": -1}}
    call, _ = sent(own, ctx=2048, max_tokens=64, streamed=True)
    assert orjson.loads(call.body) == own | {"model": "m", "stream": True}


def test_a_model_that_refuses_sampling_parameters_gets_none() -> None:
    own = {"messages": [HELLO], "options": {"temperature": 0.1, "top_p": 0.2, "top_k": 3, "seed": 4}}
    assert orjson.loads(sent(own, sampling_params=False)[0].body)["options"] == {"seed": 4}


def test_a_request_without_messages_is_not_sent_since_it_would_load_or_unload() -> None:
    async def work() -> tuple[Outcome, int]:
        async with fault_server(answer(CHAT)) as server, adapter("ollama", server.url) as backend:
            body = {"messages": [], "keep_alive": 0}
            return await backend.complete(Request(body=body, upstream="m", timeout=60, dialect="ollama")), len(
                server.calls_received
            )

    outcome, calls = run(work())
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, calls) == (E.BAD_REQUEST, 0)


@pytest.mark.parametrize("base", ["", "/", "/api", "/api/", "/api/chat", "/api/generate", "/api/tags"])
def test_every_spelling_of_an_address_means_the_same_server(base: str) -> None:
    async def work() -> str:
        async with fault_server(answer(CHAT)) as server, adapter("ollama", server.url + base) as backend:
            await backend.complete(Request(body={"messages": [HELLO]}, upstream="m", timeout=60, dialect="ollama"))
            return server.calls_received[0].path

    assert run(work()) == "/api/chat"


def run_script(*script: dict[str, Any]) -> tuple[Outcome, list[str]]:
    deltas: list[str] = []

    async def work() -> Outcome:
        async with fault_server(lines(*script)) as server, adapter("ollama", server.url) as backend:
            call = Request(body={"messages": [HELLO]}, upstream="m", timeout=60, dialect="ollama")
            return await backend.complete(call, texts_into(deltas))

    return run(work()), deltas


def line(done: bool = False, **message: Any) -> dict[str, Any]:
    head = {
        "model": "m",
        "created_at": "2026-11-01T10:00:00Z",
        "message": {"role": "assistant", "content": ""} | message,
    }
    return head | ({"done": True, "done_reason": "stop", "eval_count": 9} if done else {"done": False})


def test_thinking_texts_and_calls_of_a_stream_are_assembled() -> None:
    other = {"function": {"index": 1, "name": "wave", "arguments": {}}}
    outcome, deltas = run_script(
        line(thinking="Look "), line(thinking="up."), line(content="I "), line(content="look."),
        line(tool_calls=[CALL]), line(tool_calls=[other]), line(done=True),
    )  # fmt: skip
    assert isinstance(outcome, Completion)
    message = {"role": "assistant", "content": "I look.", "thinking": "Look up.", "tool_calls": [CALL, other]}
    assert outcome.body == line(done=True) | {"message": message}
    assert (deltas, outcome.text, outcome.finish_reason) == (["I ", "look."], "I look.", "stop")
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (0, 9)


def test_a_stream_is_done_with_its_last_line_whatever_follows() -> None:
    outcome, _ = run_script(line(content="A"), line(done=True), {"error": "too late"})
    assert isinstance(outcome, Completion)


def test_a_stream_without_its_content_type_is_parsed() -> None:
    deltas: list[str] = []
    data = b"".join(orjson.dumps(item) + b"\n" for item in (line(content="A "), line(content="B"), line(done=True)))

    async def work() -> Outcome:
        script = answer(data, Content_Type="text/plain")
        async with fault_server(script) as server, adapter("ollama", server.url) as backend:
            call = Request(body={"messages": [HELLO]}, upstream="m", timeout=60, dialect="ollama")
            return await backend.complete(call, texts_into(deltas))

    outcome = run(work())
    assert isinstance(outcome, Completion)
    assert (outcome.text, "".join(deltas)) == ("A B", "A B")


@pytest.mark.parametrize(
    "more", [{"done": False}, {"done": None}, {"done_reason": "load"}, {"message": "A"}, {"message": None}]
)
def test_an_answer_without_done_is_malformed(more: dict[str, Any]) -> None:
    outcome = to_outcome(CHAT | more)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.MALFORMED


def test_probabilities_of_a_stream_are_kept() -> None:
    first, second = ({"token": token, "logprob": -0.1} for token in "AB")
    outcome, _ = run_script(
        line(content="A") | {"logprobs": [first]}, line(content="B") | {"logprobs": [second]}, line(done=True)
    )
    assert isinstance(outcome, Completion)
    assert outcome.body["logprobs"] == [first, second]


FAULTS: dict[str, E] = {
    "not_found": E.NOT_INSTALLED,
    "signin": E.NOT_INSTALLED,
    "subscription": E.NOT_INSTALLED,
    "cloud_disabled": E.NOT_INSTALLED,
    "unreachable": E.CONNECTION,
    "session_limit": E.OUT_OF_CREDITS,
    "weekly_limit": E.OUT_OF_CREDITS,
    "busy": E.OVERLOADED,
    "crash": E.OVERLOADED,
    "oom": E.NO_VRAM,
    "error_line": E.OVERLOADED,
    "oom_line": E.NO_VRAM,
}


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
@pytest.mark.parametrize(("fault", "meant"), FAULTS.items())
def test_each_error_of_ollama_and_its_cloud_has_its_class(
    engine: str, fault: str, meant: E, deltas: list[str] | None
) -> None:
    async def work() -> Outcome:
        models = [FakeModel(MODEL, fault=fault)]
        async with ollama_fake(engine, models) as fake, adapter("ollama", fake.url) as backend:
            return await backend.complete(request("ollama"), texts_into(deltas))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant


@pytest.mark.parametrize("fault", ["signin", "subscription", "cloud_disabled"])
def test_an_unavailable_cloud_model_parks_no_credential(fault: str, engine: str) -> None:
    async def work() -> Outcome:
        models = [FakeModel("big:cloud", fault=fault), FakeModel(MODEL)]
        async with ollama_fake(engine, models) as fake, adapter("ollama", fake.url) as backend:
            return await backend.complete(
                Request(body={"messages": [HELLO]}, upstream="big:cloud", timeout=60, dialect="ollama")
            )

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.disposition.credential is CredentialSignal.FINE


@pytest.mark.parametrize("more", [{"tools": [{"type": "function", "function": {"name": "f"}}]}, {"think": True}])
def test_a_missing_capability_is_unsupported_so_another_model_is_tried(more: dict[str, Any], engine: str) -> None:
    async def work() -> Outcome:
        async with ollama_fake(engine, [FakeModel(MODEL)]) as fake, adapter("ollama", fake.url) as backend:
            return await backend.complete(request("ollama", **more))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.UNSUPPORTED


def test_a_prompt_is_never_truncated_unless_the_caller_allows_it(engine: str) -> None:
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n} lanterns " * 30} for n in range(9)]

    async def work() -> tuple[Outcome, Outcome]:
        async with ollama_fake(engine, [FakeModel(MODEL)]) as fake, adapter("ollama", fake.url) as backend:
            body = {"messages": turns, "options": {"num_predict": 4}}
            ask = Request(body=body, upstream=MODEL, timeout=30, dialect="ollama", ctx=300)
            cut = Request(body=body | {"truncate": True}, upstream=MODEL, timeout=30, dialect="ollama", ctx=300)
            return await backend.complete(ask), await backend.complete(cut)

    whole, cut = run(work())
    assert isinstance(whole, Failure)
    assert whole.error_class is E.CONTEXT_OVERFLOW
    assert isinstance(cut, Completion)
    assert cut.usage.input_tokens is not None
    assert cut.usage.input_tokens <= 300


async def with_fake(engine: str, story: Any, *models: FakeModel, **memory: Any) -> Any:
    async with ollama_fake(engine, models, **memory) as fake, adapter("ollama", fake.url) as backend:
        return await story(fake, backend)


def test_models_are_listed_by_every_name(engine: str) -> None:
    async def story(_fake: OllamaFake, backend: Any) -> Any:
        return await backend.list_models(10)

    names = run(with_fake(engine, story, FakeModel(MODEL), FakeModel("qwen3:8b")))
    assert set(names) == {MODEL, f"{MODEL}:latest", "qwen3:8b"}


def test_a_model_is_loaded_listed_and_unloaded(engine: str) -> None:
    async def story(fake: OllamaFake, backend: Any) -> None:
        assert await backend.list_loaded(10) == ()
        assert await backend.load(MODEL, 512, 10) is None
        [loaded] = await backend.list_loaded(10)
        assert isinstance(loaded, LoadedModel)
        assert loaded.is_called(MODEL)
        assert loaded.vram_share == 1.0
        assert fake.memory.runners[loaded.upstream].ctx == 512
        assert loaded.vram_gb == pytest.approx(fake.memory.runners[loaded.upstream].size_vram / GIB)
        assert await backend.unload(MODEL, 10) is None
        assert fake.memory.runners == {}

    run(with_fake(engine, story, FakeModel(MODEL), unload_s=0.3))


def test_a_call_after_a_load_does_not_load_again(engine: str) -> None:
    async def story(fake: OllamaFake, backend: Any) -> list[str]:
        await backend.load(MODEL, 1024, 10)
        assert isinstance(await backend.complete(request("ollama")), Completion)
        return fake.memory.loads

    assert len(run(with_fake(engine, story, FakeModel(MODEL)))) == 1


def test_a_model_larger_than_the_card_is_listed_as_partly_on_the_cpu(engine: str) -> None:
    async def story(_fake: OllamaFake, backend: Any) -> Any:
        assert await backend.load("big", 512, 10) is None
        return await backend.list_loaded(10)

    [loaded] = run(with_fake(engine, story, FakeModel("big", size=12 * GIB), vram=8 * GIB))
    assert 0.6 < loaded.vram_share < 0.7


def test_an_unload_waits_for_running_calls_but_not_for_ever(engine: str) -> None:
    async def story(_fake: OllamaFake, backend: Any) -> Any:
        talking = asyncio.create_task(backend.complete(request("ollama", "Tell a very long story.", limit=900)))
        while not await backend.list_loaded(10):
            await asyncio.sleep(0.02)
        refused = await backend.unload(MODEL, 0.5)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        return refused, await backend.unload(MODEL, 10)

    refused, gone = run(with_fake(engine, story, FakeModel(MODEL)))
    assert refused.error_class is E.TIMEOUT
    assert gone is None


@pytest.mark.parametrize(("fault", "meant"), [("oom", E.NO_VRAM), ("not_found", E.NOT_INSTALLED)])
def test_a_failed_load_names_the_reason(fault: str, meant: E, engine: str) -> None:
    async def story(_fake: OllamaFake, backend: Any) -> Any:
        return await backend.load(MODEL, 512, 10)

    failure = run(with_fake(engine, story, FakeModel(MODEL, fault=fault)))
    assert failure.error_class is meant


@pytest.mark.parametrize("run_script", [b"[]", b"{}", b'{"models": 3}', b"null"])
def test_a_memory_that_cannot_be_read_is_malformed(run_script: bytes) -> None:
    async def work() -> Any:
        async with fault_server(answer(run_script)) as server, adapter("ollama", server.url) as backend:
            return await backend.list_loaded(5), await backend.load("m", None, 5)

    for failure in run(work()):
        assert failure.error_class is E.MALFORMED


def test_incomplete_memory_entries_are_listed_with_unknown_values() -> None:
    models = [
        3,
        {"size": 1},
        {"name": "a"},
        {"name": "b", "size": 0, "size_vram": 0},
        {"name": "c", "size": 4, "size_vram": 5},
    ]

    async def work() -> Any:
        async with fault_server(answer({"models": models})) as server, adapter("ollama", server.url) as backend:
            return await backend.list_loaded(5)

    run_script = {item.upstream: item.vram_share for item in run(work())}
    assert run_script == {"a": None, "b": None, "c": 1.0}
