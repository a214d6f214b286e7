"""Requests of `/api/generate` at an Ollama: fill-in-the-middle, raw prompts, templates and the state of a talk."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import ollama
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.ollama_generate import as_generate
from tests.fakes.ollama import FakeModel, ollama_fake
from tests.faults import stall
from tests.producers.gateway.running_gateway import CONFIG, open_gateway
from tests.workers.backends.protocol_clients import MODEL, adapter, adapter_to, request, run
from tests.workers.backends.received import texts_into

INSERTS = FakeModel(MODEL, capabilities=("completion", "insert"))
PROMPT = {"role": "user", "content": "def add(a, b):"}


def complete(call: Request, engine: str, deltas: list[str] | None) -> tuple[Outcome, str, dict[str, Any]]:
    async def work() -> tuple[Outcome, str, dict[str, Any]]:
        async with ollama_fake(engine, [INSERTS]) as fake, adapter("ollama", fake.url) as backend:
            outcome = await backend.complete(call, None if deltas is None else texts_into(deltas))
            return outcome, *fake.calls_received[-1]

    return run(work())


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_a_suffix_reaches_ollama_as_a_generate_and_its_answer_is_that_of_a_chat(
    engine: str, deltas: list[str] | None
) -> None:
    call = request("ollama", "def add(a, b):", limit=5, suffix="return c", raw=True, context=[], images=None)
    outcome, path, sent = complete(call, engine, deltas)
    assert isinstance(outcome, Completion)
    assert path == "/api/generate"
    assert (sent["prompt"], sent["suffix"], sent["raw"], sent["truncate"]) == (
        "def add(a, b):",
        "return c",
        True,
        False,
    )
    assert not {"messages", "system", "context"} & sent.keys()
    assert outcome.text == outcome.body["message"]["content"] != ""
    assert "context" not in outcome.body
    assert outcome.usage.output_tokens == 5
    assert "".join(deltas or [outcome.text]) == outcome.text


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_a_generate_keeps_its_system_prompt_and_the_context_of_its_answer(
    engine: str, deltas: list[str] | None
) -> None:
    body = {
        "messages": [{"role": "system", "content": "Be brief."}, PROMPT],
        "raw": False,
        "template": "{{ .Prompt }}",
        "context": [4, 5],
    }
    call = Request(body=body, upstream=MODEL, timeout=60, dialect="ollama", max_tokens=8, ctx=1024)
    outcome, path, sent = complete(call, engine, deltas)
    assert isinstance(outcome, Completion)
    assert (path, sent["system"], sent["context"]) == ("/api/generate", "Be brief.", [4, 5])
    assert (sent["template"], "raw" in sent) == ("{{ .Prompt }}", False)
    assert outcome.body["context"] == [1, 2, 3]


def test_a_model_that_cannot_fill_in_the_middle_is_unsupported_so_another_one_is_tried(engine: str) -> None:
    async def work() -> Outcome:
        async with adapter_to("ollama", engine) as backend:
            return await backend.complete(request("ollama", suffix="}"))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.UNSUPPORTED


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [PROMPT]},
        {"raw": True, "messages": [PROMPT, {"role": "assistant", "content": "c"}, PROMPT]},
        {"raw": True, "messages": [{"role": "user", "content": "", "images": ["aGk="]}]},
    ],
    ids=["a plain chat", "several turns", "no prompt"],
)
def test_what_no_generate_can_say_stays_a_chat(body: dict[str, Any]) -> None:
    assert as_generate(body) is None


def test_images_of_a_prompt_go_with_it() -> None:
    assert as_generate({"raw": False, "messages": [{**PROMPT, "images": ["aGk="]}]}) == {
        "prompt": PROMPT["content"],
        "images": ["aGk="],
    }


def test_a_generate_through_the_gateway_fills_in_the_middle_and_gives_its_context(
    redis_url: str, tmp_path: Path, engine: str
) -> None:
    async def main() -> None:
        models = [FakeModel("tiny-1", capabilities=("completion", "insert"))]
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(ollama_fake(engine, models))
            config = CONFIG.replace("{upstream}", upstream.url)
            opened = open_gateway(redis_url, tmp_path, stall, protocol="ollama", config=config)
            gateway = await stack.enter_async_context(opened)
            client = await stack.enter_async_context(ollama.AsyncClient(host=gateway.url))
            options = {"num_predict": 8}
            whole = await client.generate("plain", "def f(", suffix="return c", options=options)
            answer = client.generate("plain", "def f(", context=whole.context, options=options, stream=True)
            parts = [part async for part in await answer]
            wrong = await gateway.http.post("/api/generate", json={"model": "plain", "prompt": "a", "suffix": 3})
            sent = [body for path, body in upstream.calls_received if path == "/api/generate"]
        assert (sent[0]["suffix"], sent[1]["context"]) == ("return c", [1, 2, 3])
        assert list(whole.context or ()) == list(parts[-1].context or ()) == [1, 2, 3]
        assert whole.response
        assert "".join(part.response for part in parts)
        assert "left_out" not in whole.model_dump().get("openfall", {})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "`suffix` must be text")

    run(main())
