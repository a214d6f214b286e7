"""The Valkey servers of the tests end with the process that started them, however it ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

from openfall.workers.local.process_id import identify
from tests.valkey_server import Server, temporary_server

ROOT = Path(__file__).resolve().parent.parent
START_SERVER = """
import sys
from pathlib import Path
from tests.valkey_server import Server, temporary_server
print(Server(Path(sys.argv[1])).start().process.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_outlives_the_thread_that_asked_for_it() -> None:
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        server = Server(Path(home))
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        server.kill()


def test_no_child_of_a_killed_server_writes_on_into_its_directory() -> None:
    with temporary_server() as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("a key", "whose rewrite takes 600 s")
            client.config_set("rdb-key-save-delay", 600_000_000)  # microseconds
            client.bgrewriteaof()
        deadline = time.monotonic() + 60
        while not (files := list(server.home.rglob("temp-rewriteaof-*"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        child = identify(int("".join(filter(str.isdigit, files[0].name))))
        assert child is not None
        server.kill()
        while child.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not child.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
def test_a_server_ends_when_the_process_of_the_tests_is_killed() -> None:
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        command = [sys.executable, "-c", START_SERVER, home]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tests:
            assert tests.stdout is not None
            server = identify(int(tests.stdout.readline()))
            assert server is not None
            tests.kill()
        deadline = time.monotonic() + 60
        while server.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not server.alive()
