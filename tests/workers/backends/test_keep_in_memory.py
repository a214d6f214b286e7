"""An Ollama keeps a model as long as its backend says: after a call, a load and a probe."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.workers.backends import health_check
from openfall.workers.backends.call_request import Request
from tests.fakes.ollama import FakeModel, OllamaFake, ollama_fake
from tests.workers.backends.protocol_clients import MODEL, adapter, request, run

SPEC = ModelSpec(upstream=MODEL, backends=("box",), context=1024)
OF_THE_SERVER = 300.0


def kept(engine: str, action: Any, **more: Any) -> float | None:
    """The seconds for which the model stays after an action. None: it is not in memory any more."""

    async def work() -> float | None:
        async with (
            ollama_fake(engine, [FakeModel(MODEL)], unload_s=0) as fake,
            adapter("ollama", fake.url, **more) as backend,
        ):
            await action(backend)
            return keep(fake)

    def keep(fake: OllamaFake) -> float | None:
        runners = [runner for runner in fake.memory.present() if not runner.leaving]
        return runners[0].keep if runners else None

    return run(work())


async def load(backend: Any) -> None:
    assert await backend.load(MODEL, 1024, 10) is None


async def chat(backend: Any) -> None:
    assert (await backend.complete(request("ollama"))).text


async def chat_of_another_dialect(backend: Any) -> None:
    assert (await backend.complete(request("openai"))).text


async def probe(backend: Any) -> None:
    assert (await health_check.probe(backend, SPEC)).text


@pytest.mark.parametrize("action", [load, chat, chat_of_another_dialect, probe])
def test_a_model_is_kept_as_long_as_its_backend_says(engine: str, action: Any) -> None:
    assert kept(engine, action, keep_in_memory=86400) == 86400
    assert kept(engine, action) == OF_THE_SERVER


def test_a_model_that_is_not_to_be_kept_is_unloaded_after_a_call_but_not_by_a_load(engine: str) -> None:
    assert kept(engine, chat, keep_in_memory=0) is None
    assert kept(engine, load, keep_in_memory=0) == OF_THE_SERVER


def test_the_callers_own_wish_wins(engine: str) -> None:
    async def own(backend: Any) -> None:
        body = {"messages": [{"role": "user", "content": "Hi"}], "keep_alive": "10m", "options": {"num_predict": 2}}
        await backend.complete(Request(body=body, upstream=MODEL, timeout=60, dialect="ollama", ctx=1024))

    assert kept(engine, own, keep_in_memory=86400) == 600
