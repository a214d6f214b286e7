"""Runs `openfall` commands: inside this process, or as a process where signals, pipes or imports matter."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pytest

from openfall import AsyncOpenfall
from openfall.config import load
from openfall.producers.cli.commands import run as run_command
from openfall.router_core.state.external_calls import ExternalCall, report_external_call
from tests.producers.cli.batch_files import LINES, line

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).parents[3]


class Command(subprocess.Popen[str]):
    """A process that a failure in its `with` block kills. `Popen` would wait for its end, and hide the failure."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, stack)


@pytest.fixture
def called(config_file: Path, redis_url: str) -> Callable[..., None]:
    """Reports a call that was made. `error` None: it answered."""
    loaded = load(config_file, environ={"REDIS_URL": redis_url})

    def report(model: str, backend: str, error: Any = None, **more: Any) -> None:
        async def main() -> None:
            async with AsyncOpenfall(config=loaded) as llm:
                call = ExternalCall(model=model, backend=backend, error=error, **more)
                await report_external_call(llm.store.connection, loaded.catalog, call)

        asyncio.run(main())

    return report


@pytest.fixture
def environment(tmp_path: Path, config_file: Path) -> dict[str, str]:
    """Variables of a user with this configuration, and no others."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path),
        "OPENFALL_CONFIG": str(config_file),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, redis_url: str) -> Start:
    def start_command(*args: str, url: str = redis_url) -> subprocess.Popen[str]:
        """Starts a command, with an empty Valkey unless another `url` is given ("": none)."""
        given = {**environment, "REDIS_URL": url}
        return Command(
            [sys.executable, "-m", "openfall.producers.cli", *args],
            cwd=tmp_path, env=given, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start_command


@pytest.fixture
def openfall_process(start: Start, redis_url: str) -> Run:
    """Runs a command to its end as a process, with an empty Valkey unless another `url` is given."""

    def run(*args: str, stdin: str = "", url: str = redis_url) -> subprocess.CompletedProcess[str]:
        with start(*args, url=url) as process:
            out, err = process.communicate(stdin, timeout=120)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


@contextlib.contextmanager
def _ends_within(seconds: int) -> Iterator[None]:
    """Raises `TimeoutError` later. Only the main thread receives signals: in another one there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("the command does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def openfall(environment: dict[str, str], tmp_path: Path, redis_url: str) -> Run:
    """The same inside this process, which saves the start of Python. One command at a time, for a minute at most."""

    def run(*args: str, stdin: str = "", url: str = redis_url) -> subprocess.CompletedProcess[str]:
        out, err = _stream(), _stream()
        with (
            mock.patch.dict(os.environ, {**environment, "REDIS_URL": url}, clear=True),
            mock.patch.multiple(sys, stdin=_stream(stdin), stdout=out, stderr=err, excepthook=sys.excepthook),
            contextlib.chdir(tmp_path),
            _ends_within(60),
        ):
            code = run_command(args)
        assert "Traceback" not in _text(err)
        return subprocess.CompletedProcess(args, code, _text(out), _text(err))

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The input of a batch: in.jsonl, with `LINES` lines."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{line(f'line-{n}', f'prompt {n}')}\n" for n in range(LINES)))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()
