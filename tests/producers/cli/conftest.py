"""`openfall` as people run it: a process of its own, its exit code, and what it writes where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def environment(tmp_path: Path, config_file: Path) -> dict[str, str]:
    """Of a person with this configuration, and nothing else set."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path),
        "OPENFALL_CONFIG": str(config_file),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, redis_url: str) -> Callable[..., subprocess.Popen[str]]:
    def started(*args: str, url: str = redis_url) -> subprocess.Popen[str]:
        """Starts a command, with an empty Valkey unless another `url` is given ("": none)."""
        given = {**environment, "REDIS_URL": url}
        return subprocess.Popen(
            [sys.executable, "-m", "openfall.producers.cli", *args],
            cwd=tmp_path, env=given, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return started


@pytest.fixture
def openfall(
    start: Callable[..., subprocess.Popen[str]], redis_url: str
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command to its end, with an empty Valkey unless another `url` is given."""

    def ran(*args: str, said: str = "", url: str = redis_url) -> subprocess.CompletedProcess[str]:
        with start(*args, url=url) as process:
            out, err = process.communicate(said, timeout=60)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return ran
