"""The demo's file and its reckoning. The demo itself is run by `make demo`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from examples import report
from examples.demo import EPISODE
from examples.falling import Falling
from examples.fleet import CONFIG, Fleet, environment, free_ports
from examples.night import Night, read_jobs
from openfall import config
from openfall.router_core.jobs.outcome import Attempt, ErrorClass
from openfall.router_core.jobs.result import Result, Status


def night_of(tmp_path: Path) -> Night:
    loaded = config.load(CONFIG, environ=environment(tmp_path))
    lines = read_jobs(EPISODE, loaded.catalog)
    return Night(lines, accepted={line.custom_id: f"job-{number:05}" for number, line in enumerate(lines)}, ended=10.0)


def answered(job_id: str, waited: float) -> Result:
    attempt = Attempt(model="smol-a", backend="one", started_at=1, ended_at=2, output_tokens=20)
    body = {"choices": [{"message": {"role": "assistant", "content": "Wave.\n\nAgain."}}]}
    return Result(id=job_id, status=Status.ANSWERED, attempts=(attempt,), body=body, waited=waited)


def test_the_episode_has_sixty_jobs_of_all_three_urgencies(tmp_path: Path) -> None:
    night = night_of(tmp_path)
    assert len({line.custom_id for line in night.lines}) == len(night.lines) == 60
    assert set(Counter(line.urgency for line in night.lines)) == set(report.URGENCIES)
    assert {line.role for line in night.lines} == set(report.KINDS)


def test_the_demo_keeps_to_its_own_directory_and_redis(tmp_path: Path) -> None:
    environ = {**environment(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0"}
    settings = config.load(CONFIG, environ=environ).settings
    assert settings.redis_url is None
    assert settings.data_dir == tmp_path


def test_what_was_accepted_and_has_no_result_is_lost(tmp_path: Path) -> None:
    night = night_of(tmp_path)
    first, second, *rest = night.lines
    for line in (second, *rest):
        night.results[line.custom_id] = answered(night.accepted[line.custom_id], waited=1.0)
    assert night.lost == [first.custom_id]
    assert "60 accepted, 59 answered" in report.summary(night)
    assert "1 lost" in report.summary(night)


def test_a_failed_job_is_not_lost_and_its_reason_is_on_the_page(tmp_path: Path) -> None:
    night = night_of(tmp_path)
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


def fallen(**more: Any) -> Falling:
    told: dict[str, Any] = {
        "accepted": {"j1": "Haruka waves", "j2": "Tag it"},
        "told": 0.5,
        "held": {"j1"},
        "back": 5.0,
    }
    results = {job: answered(job, waited=9.0) for job in told["accepted"]}
    return Falling(**{**told, "results": results, "ended": 15.0, **more})


def table_text(table: Table) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_job_asked_while_the_engines_were_away_is_accounted_for(tmp_path: Path) -> None:
    night = night_of(tmp_path)
    night.results = {line.custom_id: answered(night.accepted[line.custom_id], waited=1.0) for line in night.lines}
    night.falling = fallen()
    assert night.falling.well
    assert "2 accepted meanwhile" in report.fall_summary(night)
    (row,) = [row for row in table_text(report.account(night)).splitlines() if row.startswith("│ all")]
    assert row.replace("│", " ").split() == ["all", "62", "61", "1", "0", "0"]


def test_a_job_that_was_held_and_never_came_back_is_lost_and_told(tmp_path: Path) -> None:
    night = night_of(tmp_path)
    night.falling = fallen(results={"j1": answered("j1", waited=9.0)})
    assert night.falling.lost == ["j2"]
    assert not night.falling.well
    assert "1 lost" in report.fall_summary(night)


def test_an_end_that_was_not_reached_is_told(tmp_path: Path) -> None:
    night = night_of(tmp_path)
    night.falling = fallen(back=None)
    assert "did not come to its end" in report.fall_summary(night)


def state_of(pid: int) -> str:
    """What the kernel says of a process; T: it stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_supervisor_stands_still_while_its_fleet_is_unattended_and_goes_on_whatever_happens(tmp_path: Path) -> None:
    def leave_it(pid: int) -> None:
        with Fleet(lambda event: None, tmp_path / "log", supervisor=pid).unattended():
            deadline = time.monotonic() + 10
            while state_of(pid) != "T" and time.monotonic() < deadline:
                time.sleep(0.01)
            raise ValueError(state_of(pid))

    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        with pytest.raises(ValueError, match="T"):
            leave_it(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_worker_is_known_by_the_process_in_its_name(tmp_path: Path) -> None:
    fleet = Fleet(lambda event: None, tmp_path / "log")
    fleet.hear({"event": "ready", "what": "worker-gpu-1", "pid": 4711})
    assert fleet.worker_of("of-gpu-a-host-4711-abcdef") == "worker-gpu-1"
    assert fleet.worker_of("of-gpu-a-host-4712-abcdef") is None
    fleet.hear({"event": "exited", "what": "worker-gpu-1", "code": -9})
    assert fleet.worker_of("of-gpu-a-host-4711-abcdef") is None


def test_free_ports_are_not_the_same_port_twice() -> None:
    assert len(set(free_ports(4))) == 4
