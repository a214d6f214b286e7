"""The demo's file, its report, and its processes. `make demo` runs the demo itself."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from examples import report
from examples.demo_fleet import CONFIG, PAUSE, ROOT, Fleet, environment
from examples.demo_run import EPISODE, StopSignals
from examples.engine_failure import EngineFailure
from examples.gateway_kill import GatewayKill
from examples.model_switch import ModelSwitch
from examples.night import Night, WorkerKill, read_jobs
from examples.outage import Outage
from openfall import config
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.local.process_id import ProcessId, identify


def make_night(tmp_path: Path) -> Night:
    loaded = config.load(CONFIG, environ=environment(tmp_path))
    lines = read_jobs(EPISODE, loaded.catalog)
    return Night(lines, accepted={line.custom_id: f"job-{number:05}" for number, line in enumerate(lines)}, ended=10.0)


def answered(job_id: str, waited: float) -> Result:
    attempt = Attempt(model="smol-a", backend="one", started_at=1, ended_at=2, output_tokens=20)
    body = {"choices": [{"message": {"role": "assistant", "content": "Wave.\n\nAgain."}}]}
    return Result(id=job_id, status=Status.ANSWERED, attempts=(attempt,), body=body, waited=waited)


def test_the_episode_has_sixty_jobs_of_all_three_urgencies(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    assert len({line.custom_id for line in night.lines}) == len(night.lines) == 60
    assert set(Counter(line.urgency for line in night.lines)) == set(report.URGENCIES)
    assert {line.role for line in night.lines} == set(report.KINDS)


def test_the_demo_keeps_to_its_own_directory_and_redis(tmp_path: Path) -> None:
    environ = {**environment(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0"}
    settings = config.load(CONFIG, environ=environ).settings
    assert settings.redis.url is None
    assert settings.data_dir == tmp_path


def test_an_accepted_job_without_a_result_is_lost(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    first, second, *rest = night.lines
    for line in (second, *rest):
        night.results[line.custom_id] = answered(night.accepted[line.custom_id], waited=1.0)
    assert night.lost == [first.custom_id]
    assert "60 accepted, 59 answered" in report.summary(night)
    assert "1 lost" in report.summary(night)


def test_a_failed_job_is_not_lost_and_the_page_has_its_reason(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    for line in night.lines:
        night.results[line.custom_id] = answered(night.accepted[line.custom_id], waited=1.0)
    first = night.lines[0].custom_id
    night.results[first] = Result(
        id=night.accepted[first], status=Status.FAILED, error=ErrorClass.BAD_REQUEST, detail="no such thing"
    )
    report.write_page(night, tmp_path / "page.md")
    report.write_rows(night, tmp_path / "rows.jsonl")
    assert not night.lost
    assert night.unanswered == [first]
    assert "no such thing" in (tmp_path / "page.md").read_text("utf-8")
    assert "> Wave.\n>\n> Again." in (tmp_path / "page.md").read_text("utf-8")
    rows = [json.loads(row) for row in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["custom_id"] for row in rows] == [line.custom_id for line in night.lines]
    assert rows[0]["error"]["code"] == "bad_request"


def make_outage(**changes: Any) -> Outage:
    fields: dict[str, Any] = {
        "accepted": {"j1": "Haruka waves", "j2": "Tag it"},
        "degraded_after": 0.5,
        "held": {"j1"},
        "back": 5.0,
        "ended": 15.0,
    }
    results = {job: answered(job, waited=9.0) for job in fields["accepted"]}
    return Outage(**{**fields, "results": results, **changes})


def table_text(table: Table) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_account_includes_the_jobs_of_the_outage(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    night.results = {line.custom_id: answered(night.accepted[line.custom_id], waited=1.0) for line in night.lines}
    night.outage = make_outage()
    assert night.outage.survived
    assert "2 accepted meanwhile" in report.outage_summary(night)
    (row,) = [row for row in table_text(report.job_account(night)).splitlines() if row.startswith("│ all")]
    assert row.replace("│", " ").split() == ["all", "62", "61", "1", "0", "0"]


def test_a_held_job_without_a_result_is_lost(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    night.outage = make_outage(results={"j1": answered("j1", waited=9.0)})
    assert night.outage.lost == ["j2"]
    assert not night.outage.survived
    assert "1 lost" in report.outage_summary(night)


def test_the_report_names_an_outage_that_did_not_end(tmp_path: Path) -> None:
    night = make_night(tmp_path)
    night.outage = make_outage(back=None)
    assert "did not reach its end" in report.outage_summary(night)


def test_a_night_succeeds_only_if_every_fault_happened_and_was_overcome(tmp_path: Path) -> None:
    def successful_night() -> Night:
        night = make_night(tmp_path)
        night.results = {line.custom_id: answered(night.accepted[line.custom_id], waited=1.0) for line in night.lines}
        night.outage = make_outage()
        night.gateway_kill = GatewayKill(answer="a", response="resp_1", killed=True, back=0.5, text="b")
        results = [answered(f"job-{number}", waited=1.0) for number in range(3)]
        night.model_switch = ModelSwitch(loaded_after=1.0, answered_after=2.0, put_back=2, results=results)
        night.engine_failure = EngineFailure(pid=1, opened=0.1, closed=4.0)
        first = night.lines[0].custom_id
        night.worker_kill, night.taken_over = WorkerKill(orphans={first: 1}, at=0.0), {first: 10.0}
        return night

    spoilt = [successful_night() for _ in range(8)]
    spoilt[0].results.popitem()
    spoilt[1].refused["x"] = "queue full"
    spoilt[2].engine_failure = EngineFailure(pid=1, opened=0.1)
    spoilt[3].worker_kill = None
    spoilt[4].taken_over = {}
    spoilt[5].outage = make_outage(degraded_after=None)
    spoilt[6].gateway_kill = GatewayKill(answer="a", response="resp_1", killed=True)
    spoilt[7].model_switch = ModelSwitch(loaded_after=1.0, answered_after=2.0, put_back=0, results=[])
    assert successful_night().all_shown
    assert [night.all_shown for night in spoilt] == [False] * 8


def process_state(pid: int) -> str:
    """The state letter of a process; T: stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_supervisor_is_paused_while_the_fleet_is_unattended(
    tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    async def fail_unattended() -> None:
        async with Fleet(lambda event: None, tmp_path / "log", supervisor=supervisor.pid).unattended():
            assert wait_until(lambda: process_state(supervisor.pid) == "T")
            raise ValueError("an error inside the block")

    with pytest.raises(ValueError, match="inside the block"):
        asyncio.run(fail_unattended())
    assert wait_until(lambda: process_state(supervisor.pid) != "T")


def test_a_paused_supervisor_continues_when_the_demo_is_killed(supervisor: subprocess.Popen[bytes]) -> None:
    code = (
        "import asyncio, sys\nfrom examples.demo_fleet import paused\n"
        "async def main():\n    async with paused(int(sys.argv[1])):\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(supervisor.pid)], cwd=ROOT) as demo:
        assert wait_until(lambda: process_state(supervisor.pid) == "T")
        demo.kill()
    assert wait_until(lambda: process_state(supervisor.pid) != "T")


def test_a_supervisor_continues_though_the_demo_is_killed_while_it_is_paused(
    supervisor: subprocess.Popen[bytes],
) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    pause = [sys.executable, "-c", PAUSE, str(supervisor.pid)]
    helper = subprocess.run(pause, stdin=subprocess.DEVNULL, stdout=writes, stderr=subprocess.PIPE, check=True)
    os.close(writes)
    assert (process_state(supervisor.pid) != "T", helper.stderr) == (True, b"")


def descendants(pid: int) -> list[ProcessId]:
    """The processes below a process, in other sessions too."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    below = [pid]
    for parent in below:
        below += children.get(parent, [])
    return [identity for identity in map(identify, below[1:]) if identity]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_demo_that_is_stopped_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    environ, log = {**os.environ, "PYTHONUNBUFFERED": "1"}, tmp_path / "log"
    command = [sys.executable, "-m", "examples.demo"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output) as demo,
    ):
        try:
            assert wait_until(lambda: "jobs accepted" in log.read_text(), 240.0), log.read_text()
            processes = descendants(demo.pid)
            demo.send_signal(number)
            demo.wait(60)
        finally:
            demo.kill()
    assert len(processes) >= 7  # a supervisor, Valkey, two engines, three workers
    assert wait_until(lambda: not any(process.alive() for process in processes), 60.0)
    assert "Traceback" not in log.read_text()
    assert demo.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_each_signal_to_stop_cancels_the_demo(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    async def play() -> None:
        StopSignals().cancel_current_task()
        signal.raise_signal(number)
        await asyncio.sleep(60)

    try:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(play())
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_worker_is_identified_by_the_pid_in_its_name(tmp_path: Path) -> None:
    fleet = Fleet(lambda event: None, tmp_path / "log")
    fleet.handle({"event": "ready", "what": "worker-gpu-1", "pid": 4711})
    assert fleet.worker_of("of-gpu-a-host-4711-abcdef") == "worker-gpu-1"
    assert fleet.worker_of("of-gpu-a-host-4712-abcdef") is None
    fleet.handle({"event": "exited", "what": "worker-gpu-1", "code": -9})
    assert fleet.worker_of("of-gpu-a-host-4711-abcdef") is None
