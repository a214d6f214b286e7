"""`openfall up` starts and stops the configured fleet; `openfall work` is the worker process."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from pathlib import Path

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
        process.communicate(timeout=40)
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
        out, _ = process.communicate(timeout=40)
    last = json.loads(out.splitlines()[-1])
    assert datetime.fromisoformat(last.pop("at")).tzinfo is not None
    assert last == {"event": "fleet_stopped", "code": 0}
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_under_nohup_keeps_ignoring_sighup_and_so_do_all_that_it_starts(start: Start) -> None:
    with ignoring_sighup(), start("up", "--json") as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline())]
        while events[-1]["event"] != "fleet_ready":
            events.append(json.loads(process.stdout.readline()))
        workers = [event["pid"] for event in events if event["event"] == "ready"]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (supervisor,) = [
            int(pid) for pid in children if b"openfall.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        ignored = {pid: ignores_sighup(pid) for pid in (process.pid, supervisor, *workers)}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
    assert len(ignored) == 4
    assert all(ignored.values())


def test_a_closed_terminal_stops_a_worker_in_order_unless_it_runs_under_nohup() -> None:
    assert signal.SIGHUP in stop_signals()
    with ignoring_sighup():
        assert signal.SIGHUP not in stop_signals()


@contextmanager
def ignoring_sighup() -> Iterator[None]:
    """As `nohup` starts a command: children inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def ignores_sighup(pid: int) -> bool:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return bool(int(status["SigIgn"], 16) & 1 << signal.SIGHUP - 1)


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
            process.communicate(timeout=40)
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
