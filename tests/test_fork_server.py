"""A program that is forked is a process of its own, in the state in which an interpreter starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openfall.workers.local.process_id import identify
from tests.fork_server import INTERPRETER, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each program has an interpreter of its own")

FORKED = (sys.executable, "-m")
STATE, UPSTREAM = "tests.process_state", "benchmarks.upstream"

OWNER = f"""
import subprocess, sys, time
from tests.fork_server import ForkServer
server = ForkServer()
server.fork()
server.install()
process = subprocess.Popen([sys.executable, "-m", "{UPSTREAM}"], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(60)
"""


def state(command: tuple[str, ...], argument: str = "0", **options: Any) -> dict[str, Any]:
    ran = subprocess.run([*command, STATE, argument], capture_output=True, text=True, check=True, timeout=60, **options)
    values: dict[str, Any] = json.loads(ran.stdout)
    return values


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start_new_session": True, "umask": 0o27, "input": "two\nlines"},
        {"process_group": 0, "stdin": subprocess.DEVNULL},
        {"env": {"PATH": "/bin", "PYTHONPATH": f"{ROOT}:/elsewhere", "PYTHONUNBUFFERED": "1", "TZ": "Asia/Tokyo"}},
    ],
    ids=["as it is", "a session", "a process group", "variables"],
)
def test_a_forked_program_begins_in_the_state_of_an_interpreter(tmp_path: Path, options: dict[str, Any]) -> None:
    own = {name: os.environ[name] for name in os.environ if name.startswith(("SSL_CERT_", "LC_", "LANG"))}
    if "env" in options:
        options = {**options, "env": {**own, **options["env"]}}
    else:
        options = {**options, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    forked, started = state(FORKED, cwd=tmp_path, **options), state(INTERPRETER, cwd=tmp_path, **options)
    assert (forked.pop("imported"), started.pop("imported")) == (True, False)
    assert (forked.pop("signal_at_end"), started.pop("signal_at_end")) == (signal.SIGKILL, 0)
    assert forked == started
    assert forked["parent"] == os.getpid()


def test_what_a_forked_fleet_starts_begins_in_the_state_of_what_an_interpreter_starts() -> None:
    forked, started = (state(command, "up", cwd=ROOT, env=dict(os.environ)) for command in (FORKED, INTERPRETER))
    assert (forked.pop("imported"), started.pop("imported")) == (True, False)
    assert forked.pop("parent") != started.pop("parent")
    assert forked == started
    assert forked["signal_at_end"] == signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (INTERPRETER, {}),
        ((sys.executable, "-X", "utf8", "-m"), {}),
        (FORKED, {"PYTHONWARNINGS": "error"}),
        (FORKED, {"SSL_CERT_FILE": "/elsewhere.pem"}),
        (FORKED, {"LC_ALL": "de_DE.UTF-8"}),
        (FORKED, {"PYTHONPATH": f"/elsewhere:{ROOT}"}),
    ],
)
def test_a_start_that_a_fork_cannot_repeat_is_that_of_an_interpreter(command: Any, variables: dict[str, str]) -> None:
    assert not state(command, env={**os.environ, **variables}, cwd=ROOT)["imported"]


def test_a_forked_program_ignores_the_hangup_that_its_owner_ignores() -> None:
    state(FORKED, cwd=ROOT)  # the server runs before the owner ignores it
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [state(command, cwd=ROOT)["handlers"][str(int(signal.SIGHUP))] for command in (FORKED, INTERPRETER)]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert handlers == [str(signal.SIG_IGN)] * 2


def test_a_forked_program_ends_as_a_process_does() -> None:
    assert subprocess.run([*FORKED, STATE, "7"], stdout=subprocess.DEVNULL, cwd=ROOT).returncode == 7
    failed = subprocess.run([*FORKED, STATE, "seven"], capture_output=True, text=True, cwd=ROOT)
    assert (failed.returncode, failed.stderr.splitlines()[-1][:10]) == (1, "ValueError")
    with subprocess.Popen([*FORKED, UPSTREAM], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        assert process.wait(60) == -signal.SIGKILL


def test_a_forked_program_ends_with_its_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        forked = identify(int(owner.stdout.readline()))
        assert forked is not None
        owner.kill()
    deadline = time.monotonic() + 60
    while forked.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not forked.alive()
