"""`openfall up` leaves no process behind, however it or its supervisor ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from openfall.workers.local.process_id import ProcessId, identify
from tests.workers.local.conftest import ROOT

DEADLINE_S = 60.0
MAIN = "from openfall.producers.cli import main; main()"


def children(pid: int) -> Iterator[int]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            yield int(directory.name)
            yield from children(int(directory.name))


def command(process: ProcessId) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture
def openfall_up(data: Path, port: int, gateway_port: int, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`openfall up` with a Valkey, an engine, a worker, the worker for held jobs, and a gateway of two
    processes."""
    engine = {"model": str(model), "context": 256, "threads": 1}
    config = {
        "data": str(data),
        "redis": "embedded",
        "workers": {"processes": 1},
        "pools": {"gpu": {"local": True}},
        "backends": {
            "demo": {"protocol": "openai", "url": f"http://127.0.0.1:{port}", "pool": "gpu", "slots": 1,
                     "embedded": True, "engine": engine},
        },
        "models": {"tiny": {"upstream": "tiny", "backends": ["demo"]}},
        "roles": {"chat": {"chain": ["tiny"]}},
        "gateway": {"listen": [f"127.0.0.1:{gateway_port}"], "processes": 2},
    }  # fmt: skip
    file = data.parent / "openfall.yaml"
    file.write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "up", "--json", "--config", str(file)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
@pytest.mark.parametrize(
    ("target", "number"),
    [("command", signal.SIGKILL), ("command", signal.SIGHUP), ("supervisor", signal.SIGKILL)],
)
def test_every_process_ends_when_one_above_it_gets_a_signal(
    openfall_up: subprocess.Popen[bytes], target: str, number: signal.Signals
) -> None:
    assert openfall_up.stdout is not None
    while json.loads(openfall_up.stdout.readline())["event"] != "fleet_ready":
        pass
    started = [process for pid in children(openfall_up.pid) if (process := identify(pid))]
    commands = {process: command(process) for process in started}
    # The supervisor, Valkey, the engine, the worker, that for held jobs, the gateway and its two processes.
    assert len(started) == 8, commands
    [supervisor] = [process for process in started if "openfall.workers up" in commands[process]]
    os.kill(openfall_up.pid if target == "command" else supervisor.pid, number)
    deadline = time.monotonic() + DEADLINE_S
    while (remaining := [process for process in started if process.alive()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [commands[process] for process in remaining] == []
