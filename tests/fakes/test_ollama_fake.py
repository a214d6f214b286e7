"""The Ollama fake behaves as Ollama's source does, over plain HTTP without a backend client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import find_free_port
from tests.fakes.ollama import FakeModel, OllamaFake, ollama_fake
from tests.fakes.ollama_memory import BUSY, GIB
from tests.workers.backends.protocol_clients import MODEL, run

Story = Callable[[httpx.AsyncClient, OllamaFake], Awaitable[Any]]
HELLO = {"role": "user", "content": "Say hello."}
SHORT = {"num_predict": 6, "num_ctx": 512, "temperature": 0}


def run_story(engine: str, story: Story, *models: FakeModel, **settings: Any) -> Any:
    async def work() -> Any:
        async with (
            ollama_fake(engine, models or (FakeModel(MODEL),), **settings) as fake,
            httpx.AsyncClient(base_url=fake.url, timeout=60) as client,
        ):
            return await story(client, fake)

    return run(work())


def chat(model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [HELLO], "options": SHORT, **more}


async def names(client: httpx.AsyncClient) -> list[str]:
    return [item["name"] for item in (await client.get("/api/ps")).json()["models"]]


async def gone(client: httpx.AsyncClient, name: str) -> None:
    async with asyncio.timeout(60):
        while name in await names(client):
            await asyncio.sleep(0.02)


def test_a_chat_streams_lines_unless_the_request_says_otherwise(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> tuple[httpx.Response, httpx.Response]:
        return await client.post("/api/chat", json=chat()), await client.post("/api/chat", json=chat(stream=False))

    streamed, whole = run_story(engine, story)
    assert streamed.headers["content-type"] == "application/x-ndjson"
    *pieces, last = map(json.loads, streamed.text.splitlines())
    assert [piece["done"] for piece in pieces] == [False] * len(pieces)
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "length", 6)
    assert last["prompt_eval_count"] > 0
    assert "".join(piece["message"]["content"] for piece in pieces)
    assert whole.json().keys() == last.keys()
    assert whole.json()["message"]["content"]


def test_an_answer_follows_the_schema(engine: str) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [4, 5]}}, "required": ["n"]}

    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> Any:
        options = SHORT | {"num_predict": 40}
        return (await client.post("/api/chat", json=chat(stream=False, format=schema, options=options))).json()

    assert json.loads(run_story(engine, story)["message"]["content"])["n"] in {4, 5}


def test_a_request_without_a_prompt_loads_or_unloads(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> Any:
        loaded = (await client.post("/api/generate", json={"model": MODEL})).json()
        assert await names(client) == [f"{MODEL}:latest"]
        unloaded = (await client.post("/api/chat", json={"model": MODEL, "messages": [], "keep_alive": 0})).json()
        assert await names(client) == [f"{MODEL}:latest"]  # answered at once, done a little later
        await gone(client, f"{MODEL}:latest")
        return loaded["done_reason"], unloaded["done_reason"]

    assert run_story(engine, story, unload_s=0.3) == ("load", "unload")


def test_an_unused_model_is_unloaded_after_its_keep_alive(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> None:
        await client.post("/api/chat", json=chat(keep_alive="300ms"))
        assert await names(client) == [f"{MODEL}:latest"]
        await gone(client, f"{MODEL}:latest")
        await client.post("/api/chat", json=chat(keep_alive=-1))
        [entry] = (await client.get("/api/ps")).json()["models"]
        assert entry["expires_at"] > "2100"

    run_story(engine, story)


def test_a_model_makes_room_for_another_that_does_not_fit_beside_it(engine: str) -> None:
    async def story(client: httpx.AsyncClient, fake: OllamaFake) -> Any:
        for model in ("a", "b", "c"):
            await client.post("/api/generate", json={"model": model})
        return await names(client), fake.memory.loads

    models = [FakeModel("a", size=GIB), FakeModel("b", size=GIB), FakeModel("c", size=7 * GIB)]
    present, loads = run_story(engine, story, *models, vram=8 * GIB + 2**29)
    assert (present, loads) == (["c:latest", "b:latest"], ["a:latest", "b:latest", "c:latest"])


def test_another_context_loads_the_model_again_and_the_same_does_not(engine: str) -> None:
    async def story(client: httpx.AsyncClient, fake: OllamaFake) -> int:
        for ctx in (512, 512, 256):
            await client.post("/api/chat", json=chat(options=SHORT | {"num_ctx": ctx}))
        return len(fake.memory.loads)

    assert run_story(engine, story) == 2


def test_it_serves_the_configured_number_of_calls_at_once(engine: str) -> None:
    async def story(client: httpx.AsyncClient, fake: OllamaFake) -> int:
        tasks = [asyncio.create_task(client.post("/api/chat", json=chat())) for _ in range(4)]
        most = 0
        while not all(task.done() for task in tasks):
            runner = fake.memory.runners.get(f"{MODEL}:latest")
            most = max(most, 2 - runner.slots._value if runner else 0)  # noqa: SLF001 - a semaphore tells it nowhere else
            await asyncio.sleep(0.005)
        assert {task.result().status_code for task in tasks} == {200}
        return most

    assert run_story(engine, story, num_parallel=2) == 2


def test_more_waiting_for_a_load_than_the_queue_holds_are_refused(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> list[httpx.Response]:
        calls = [client.post("/api/generate", json={"model": MODEL}) for _ in range(5)]
        return await asyncio.gather(*calls)

    answers = run_story(engine, story, FakeModel(MODEL, load_s=0.4), max_queue=2)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 503} == {BUSY}


def test_an_error_before_the_first_line_is_a_status_and_after_it_a_line(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> Any:
        return [await client.post("/api/chat", json=chat(model)) for model in ("mute", "stuck")]

    mute, stuck = run_story(engine, story, FakeModel("mute", fault="oom"), FakeModel("stuck", fault="error_line"))
    assert (mute.status_code, "out of memory" in mute.json()["error"]) == (500, True)
    assert stuck.status_code == 200
    assert "error" in json.loads(stuck.text.splitlines()[-1])


def test_arguments_of_a_call_must_be_an_object_as_in_go(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> httpx.Response:
        call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
        messages = [HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]
        return await client.post("/api/chat", json=chat() | {"messages": messages})

    assert run_story(engine, story).status_code == 400


@pytest.mark.parametrize(
    ("path", "place"), [("/v1/chat/completions", ("error", "type")), ("/v1/messages", ("error", "type"))]
)
def test_the_compatible_endpoints_answer_and_refuse_in_their_own_words(
    engine: str, path: str, place: tuple[str, str]
) -> None:
    async def story(client: httpx.AsyncClient, fake: OllamaFake) -> Any:
        body = {"max_tokens": 4, "messages": [HELLO]}
        good = await client.post(path, json=body | {"model": MODEL})
        return good, await client.post(path, json=body | {"model": "absent"}), fake.memory.loads

    good, bad, loads = run_story(engine, story)
    assert good.json()["usage"]
    assert loads == [f"{MODEL}:latest"]
    assert (bad.status_code, bad.json()[place[0]][place[1]]) == (404, "not_found_error")


def test_faults_are_switched_while_it_runs(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> list[int]:
        recorded = []
        for fault in (None, "weekly_limit", None):
            await client.post("/fake/models", json={"name": MODEL, "fault": fault})
            recorded.append((await client.post("/api/chat", json=chat())).status_code)
        return recorded

    assert run_story(engine, story) == [200, 429, 200]


def test_its_cloud_requires_a_key(engine: str) -> None:
    async def story(client: httpx.AsyncClient, _fake: OllamaFake) -> list[int]:
        keys: list[dict[str, str]] = [{}, {"authorization": "Bearer right"}]
        return [(await client.get("/api/tags", headers=key)).status_code for key in keys]

    assert run_story(engine, story, key="right") == [401, 200]


def test_it_runs_as_a_script_from_anywhere(engine: str, tmp_path: Path) -> None:
    script, port = Path(__file__).with_name("ollama.py"), find_free_port()
    words = [sys.executable, str(script), "--engine", engine, "--port", str(port), "--model", "demo=0.1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)

    async def story() -> Any:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while process.poll() is None:
                try:
                    return (await client.post("/api/chat", json=chat("demo", stream=False))).json()
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            return None

    try:
        answer = run(story())
        assert answer is not None, process.communicate()[1]
        assert answer["message"]["content"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
