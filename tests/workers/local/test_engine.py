import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.embeddings import packed_vectors, unpack_vector
from openfall.router_core.jobs.outcome import Completion
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.local.child import spawn
from openfall.workers.local.engine import EngineSpec, describe_end, start_engine
from openfall.workers.local.engine_process import main
from openfall.workers.local.errors import LocalError
from openfall.workers.local.services import EngineService

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def spec(model: Path, port: int, **more: Any) -> EngineSpec:
    return EngineSpec(name="demo", model=model, port=port, ctx=512, threads=1, **more)


def complete(url: str) -> Any:
    body = {"model": "toy", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_an_engine_serves_is_adopted_unchanged_and_stops_with_status_0(data: Path, model: Path, port: int) -> None:
    async def story() -> None:
        wanted = spec(model, port, aliases=("toy", "other"), parallel=2)
        engine = await start_engine(wanted, data)
        answer = await asyncio.to_thread(complete, engine.url)
        assert answer["usage"]["completion_tokens"] > 0
        again = await start_engine(wanted, data)
        assert (again.child.pid, again.adopted) == (engine.child.pid, True)
        await engine.stop()
        assert await engine.child.wait() == 0

    run(story())


def test_an_engine_with_other_options_is_replaced(data: Path, model: Path, port: int) -> None:
    async def story() -> None:
        first = await start_engine(spec(model, port), data)
        second = await start_engine(replace(spec(model, port), ctx=256), data)
        ended = await first.child.wait()
        await second.stop()
        assert not second.adopted
        assert ended in (0, -signal.SIGTERM), "as a signal ends it, also at the moment at which its model is loaded"

    run(story())


def test_a_service_counts_the_restarts_of_its_engine(data: Path, model: Path, port: int) -> None:
    async def work() -> list[str]:
        service, counts = EngineService(spec(model, port), data), []
        for _ in range(2):
            started = await service.start(lambda event: None)
            counts.append((data / f"{service.spec.name}.restarts").read_text())
            await started.stop(asyncio.Event())
        return counts

    assert run(work()) == ["0\n", "1\n"]


def test_a_taken_port_is_named_with_its_holder_and_the_remedy(data: Path, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError) as failure:
            run(start_engine(replace(spec(model, port), port_setting="set ENGINE_PORT"), data))
    message = str(failure.value)
    assert f"engine demo: port {port} is taken by " in message
    assert "another port: set ENGINE_PORT." in message
    if sys.platform == "linux":
        assert f"process {os.getpid()} in {Path.cwd()}" in message


def test_the_line_of_an_engine_that_ended_is_read_behind_the_beginning_of_a_line_of_its_library(tmp_path: Path) -> None:
    async def story() -> None:
        code = "import sys; sys.stderr.write('0.00.1 I engine: no model\\nsrv  exit\\n')"
        child = await spawn([sys.executable, "-c", code], tmp_path / "engine.log")
        status = await child.wait()
        message = describe_end(spec(tmp_path, 1), status, child)
        assert message == f"engine demo: no model (log: {child.log})"

    run(story())


def test_the_engine_process_refuses_a_taken_port(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--model", str(model), "--port", str(port)]) == 1
    assert (
        capfd.readouterr().err == f"engine: port {port} is taken by another program. Stop it, or choose another port.\n"
    )


@pytest.mark.parametrize(
    "bad",
    [
        (None, "cannot be read: No such file"),
        (b"<html>404</html>", "is not a GGUF file. Download it again"),
        (b"GGUF" + b"\x03\0\0\0" + b"\xff" * 64, "it is damaged, unknown to this engine, or too large"),
    ],
    ids=["missing", "something else", "damaged"],
)
def test_a_model_that_cannot_be_loaded_is_explained_in_one_line(
    data: Path, model: Path, port: int, tmp_path: Path, bad: tuple[bytes | None, str]
) -> None:
    content, message = bad
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalError, match=message) as raised:
        run(start_engine(spec(path, port), data))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_engine_for_embeddings_gives_a_vector_for_each_text(data: Path, model: Path, port: int) -> None:
    async def story() -> None:
        engine = await start_engine(spec(model, port, aliases=("toy",), embeds=True, parallel=2), data)
        client = open_backend(Backend(url=engine.url, pool="gpu"))
        texts = ["a lantern festival", "a festival of lanterns", "an error in a compiler"]
        answer = await client.embed(Request(body={"input": texts}, upstream="toy", timeout=20))
        await client.close()
        await engine.stop()
        assert isinstance(answer, Completion)
        near, nearer, far = (unpack_vector(packed) for packed in packed_vectors(answer.body))
        assert dot(near, nearer) > dot(near, far)
        assert answer.usage.input_tokens

    run(story())


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))
