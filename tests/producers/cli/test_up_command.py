"""`openfall up` starts and stops the configured fleet; `openfall work` is the worker process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import datetime
from io import StringIO
from pathlib import Path
from signal import SIGHUP, SIGINT

import pytest

from openfall.producers.cli.up import render
from openfall.workers.stop_signals import stop_signals
from tests.producers.cli.conftest import Run, Start


def test_work_has_the_options_and_errors_of_the_worker_process(openfall_process: Run) -> None:
    ran = openfall_process("work", "gpuu", "--burst", "--slots", "2")
    assert ran.returncode == 2
    assert "unknown pool 'gpuu'. Did you mean 'gpu'?" in ran.stderr


def test_up_starts_the_configured_workers_once_and_stops_them(
    start: Start, openfall: Run, openfall_process: Run
) -> None:
    with start("up") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "Everything runs" not in lines[-1]:
            assert lines[-1], lines
            lines.append(process.stderr.readline())
        second = openfall_process("up")
        status = openfall("status").stdout
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    (ready,) = [line for line in lines if "worker-gpu-1" in line and "ready" in line]
    assert datetime.fromisoformat(ready.split()[0]).tzinfo is not None, "without a terminal each line has date and zone"
    assert status.startswith("People get answers: nothing is late, nothing waits, 2 workers ready.")
    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert process.returncode == 0


def test_up_with_a_faulty_configuration_shows_the_childs_error_and_exits_as_it_does(openfall_process: Run) -> None:
    ran = openfall_process("up", "--config", "missing.yaml")
    assert ran.returncode == 2
    assert "there is no such file" in ran.stderr


def test_up_as_json_passes_the_events_on(start: Start) -> None:
    with start("up", "--json") as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline())]
        while events[-1]["event"] != "fleet_ready":
            events.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=120)
    last = json.loads(out.splitlines()[-1])
    assert datetime.fromisoformat(last.pop("at")).tzinfo is not None
    assert last == {"event": "fleet_stopped", "code": 0}
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_in_the_background_of_a_script_and_under_nohup_up_and_all_that_it_starts_ignore_ctrl_c_and_a_hangup(
    environment: dict[str, str], tmp_path: Path, redis_url: str
) -> None:
    with subprocess.Popen(
        ["sh", "-c", 'nohup "$@" & wait', "script", sys.executable, "-m", "openfall.producers.cli", "up", "--json"],
        cwd=tmp_path, env={**environment, "REDIS_URL": redis_url}, text=True, stdout=subprocess.PIPE,
    ) as shell:  # fmt: skip
        assert shell.stdout is not None
        events = [json.loads(shell.stdout.readline())]
        while events[-1]["event"] != "fleet_ready":
            events.append(json.loads(shell.stdout.readline()))
        (up,) = children_of(shell.pid)
        (supervisor,) = [
            pid for pid in children_of(up) if b"openfall.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        workers = [event["pid"] for event in events if event["event"] == "ready"]
        ignored = [ignores(pid, number) for pid in (up, supervisor, *workers) for number in (SIGINT, SIGHUP)]
        os.kill(up, signal.SIGTERM)
        stopped = [json.loads(line) for line in shell.stdout]
    assert ignored == [True] * 8
    assert {event["what"] for event in stopped if event["event"] == "stopped"} >= {"worker-gpu-1"}


def test_ctrl_c_and_a_closed_terminal_stop_a_process_in_order() -> None:
    assert set(stop_signals()) == {SIGINT, signal.SIGTERM, SIGHUP}


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ignores(pid: int, number: int) -> bool:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return bool(int(status["SigIgn"], 16) & 1 << number - 1)


def test_up_goes_on_without_the_gateway_when_its_address_is_in_use(
    start: Start, config_file: Path, environment: dict[str, str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = config_file.read_text().replace("gateway: {listen: []}", f'gateway: {{listen: ["{address}"]}}')
        config_file.write_text(text)
        with start("up", "--json") as process:
            assert process.stdout is not None
            events = [json.loads(process.stdout.readline())]
            while events[-1]["event"] != "fleet_ready":
                events.append(json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
    (failure,) = [event for event in events if event["event"] == "gave_up"]
    assert failure["what"] == "gateway"
    assert f"cannot listen on {address}" in failure["error"]
    assert process.returncode == 0


def test_up_never_says_that_everything_runs_when_something_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    events = ({"event": "gave_up", "what": "gateway", "error": "no"}, {"event": "fleet_ready", "seconds": 1.0})
    render(StringIO("".join(json.dumps(event) + "\n" for event in events)), None)
    shown = capsys.readouterr().err
    assert "Runs without gateway in 1.0 s" in shown
    assert "Everything runs" not in shown


@pytest.mark.parametrize("is_ready", [True, False])
def test_up_names_the_address_of_the_page_once_the_gateway_runs(
    is_ready: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = {"event": "ready", "what": "gateway", "seconds": 1.0, "url": "http://127.0.0.1:8309/v1"}
    events = (*([ready] if is_ready else []), {"event": "fleet_ready", "seconds": 1.0})
    render(StringIO("".join(json.dumps(event) + "\n" for event in events)), None)
    assert ("In a browser: http://127.0.0.1:8309/\n" in capsys.readouterr().err) == is_ready


def test_up_names_the_variables_that_make_its_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Without them a program in another terminal reads the demo's configuration, whose models no worker has."""
    event = {"event": "fleet_ready", "seconds": 1.0, "variables": ["OPENAI_API_KEY", "OPENAI_MODEL"]}
    render(StringIO(json.dumps(event) + "\n"), None)
    need = "Programs in other terminals need OPENAI_API_KEY, OPENAI_MODEL too, as here: a file .env in this folder"
    assert need in capsys.readouterr().err


def test_up_says_that_it_stops_and_no_longer_that_ctrl_c_stops_everything(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("fleet_stopping", "stopped", "fleet_stopped")
    events = [{"event": "ready", "what": "worker-gpu-1"}, *({"event": name, "what": "worker-gpu-1"} for name in names)]
    render(StringIO("".join(json.dumps(event) + "\n" for event in events)), None)
    shown = capsys.readouterr().err
    assert "Stopping: calls in flight may finish. Ctrl-C again puts their jobs back at once.\n" in shown
    assert shown.endswith(" Everything is stopped.\n")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("up",), ""), (("work", "gpu"), "# only a comment"), (("work", "degrade"), "redis: embedded"),
        *((("serve",), text) for text in ("", "# only a comment", "redis: embedded")),
    ],
)  # fmt: skip
def test_a_configuration_without_a_model_starts_nothing(
    openfall_process: Run, config_file: Path, command: tuple[str, ...], text: str
) -> None:
    config_file.write_text(text)
    ran = openfall_process(*command)
    assert ran.returncode == 2
    assert "it names no backend and no model, so no job can be answered" in ran.stderr
