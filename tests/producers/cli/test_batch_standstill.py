"""A batch that does not move says why. It is listed and cancelled by its name. An interrupted run says what it did."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.config import LoadedConfig
from openfall.router_core.jobs.job import CompletionJob
from tests.producers.cli.batch_files import LINES, every_line_has_one_row, line, read_rows
from tests.producers.cli.conftest import Run, Start
from tests.producers.conftest import FakeWorker, echo
from tests.producers.hold_jobs import hold_next_sync

RUN = ("batch", "run", "in.jsonl", "-o", "out.jsonl")


def interrupt(process: subprocess.Popen[str]) -> str:
    """The messages of an interrupted run."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    return err


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def until_all_are_submitted(openfall: Run, store: Any) -> None:
    """The status of the batch has every line too. It takes far longer to read than the length of the queue."""
    until(lambda: store.llen("rq:queue:gpu.other.batch") == LINES)
    until(lambda: f'"queued":{LINES}' in openfall("batch", "status", "out", "--json").stdout)


def why_of(openfall: Run) -> str:
    return str(json.loads(openfall("batch", "status", "out", "--json").stdout).get("why", ""))


@pytest.fixture
def waiting(start: Start, openfall: Run, source: Path, store: Any) -> str:
    """The messages of a run whose lines were all submitted, and that was interrupted."""
    with start(*RUN) as process:
        until_all_are_submitted(openfall, store)
        return interrupt(process)


def test_an_interrupted_run_says_that_every_line_is_submitted_and_how_to_continue(waiting: str) -> None:
    assert (
        "40 of 40 lines are submitted and have no result yet: their jobs continue; no line is left to submit" in waiting
    )
    assert "Run the same command again to continue: it collects the answers." in waiting
    assert "openfall batch cancel out.jsonl" in waiting


@pytest.mark.parametrize("limit", [7])
def test_an_interrupted_run_says_exactly_what_was_submitted_and_what_was_not(
    start: Start, openfall: Run, source: Path, store: Any, config_file: Path, limit: int
) -> None:
    config_file.write_text(config_file.read_text() + f"urgency: {{batch: {{max_queued: {limit}}}}}\n")
    with start(*RUN) as process:
        until(lambda: store.llen("rq:queue:gpu.other.batch") == limit)
        until(lambda: process.poll() is not None or (config_file.parent / "out.jsonl").exists())
        err = interrupt(process)
    assert f"{limit} of 40 lines are submitted and have no result yet" in err
    assert f"{LINES - limit} not submitted" in err
    assert "it submits the rest and collects the answers" in err
    assert store.hget("of:counters", "accepted") == str(limit).encode()


def test_a_run_that_is_interrupted_between_two_lines_counts_those_on_their_way(
    start: Start, store: Any, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f"{line(f'line-{n}', 'x')}\n" for n in range(6000)))
    with start(*RUN) as process:
        until(lambda: store.llen("rq:queue:gpu.other.batch") > 600)
        err = interrupt(process)
    accepted = int(store.hget("of:counters", "accepted"))
    assert accepted < 6000
    assert f"{accepted:,} of 6,000 lines are submitted and have no result yet" in err
    assert f"{6000 - accepted:,} not submitted" in err


def test_a_paused_queue_is_named_as_the_reason_while_the_run_waits(
    start: Start, openfall: Run, source: Path, answering: Any
) -> None:
    openfall("queues", "pause", "gpu.other.batch")
    with start(*RUN) as process:
        assert process.stderr is not None
        notice = process.stderr.readline()
        openfall("queues", "resume", "gpu.other.batch")
        _, err = process.communicate(timeout=60)
    assert (
        "no line is answered now: queue gpu.other.batch is paused (`openfall queues resume gpu.other.batch`)" in notice
    )
    assert "40 of 40 answered" in err


def test_status_and_list_name_why_the_lines_wait(openfall: Run, waiting: str, store: Any) -> None:
    assert "no live worker serves its queue (start one: `openfall up`, or `openfall work gpu`)" in why_of(openfall)
    openfall("queues", "pause", "gpu.other.batch")
    assert "queue gpu.other.batch is paused (`openfall queues resume gpu.other.batch`)" in why_of(openfall)
    store.set("rq:suspended", 1)
    assert "everything is suspended" in why_of(openfall)
    store.delete("rq:suspended")
    openfall("queues", "resume", "gpu.other.batch")
    openfall("breakers", "force-open", "rack/other", "--reason", "the fan is off")
    assert "no calls to other@rack" in why_of(openfall)
    (listed,) = json.loads(openfall("batch", "list", "--json").stdout)
    assert "no calls to other@rack" in listed["why"]


@pytest.mark.parametrize("model", ["tiny", "renamed"])
def test_a_queue_without_a_worker_beside_live_ones_of_its_pool_asks_for_no_further_worker(
    openfall: Run, waiting: str, worker_for: Callable[..., Any], model: str
) -> None:
    with worker_for(models=(model,)):
        why = why_of(openfall)
    assert "the live ones of the pool gpu have another configuration than this command, or `--backend`" in why
    assert "openfall up" not in why


def test_the_reason_of_a_hold_is_named(openfall: Run, waiting: str, redis_url: str) -> None:
    hold_next_sync(redis_url, "gpu.other.batch")
    assert "1 held (outage), see `openfall held list`: no worker runs" in why_of(openfall)


def test_lines_that_wait_their_turn_behind_busy_slots_have_no_reason(
    openfall: Run, waiting: str, config_file: Path, redis_url: str, loaded: LoadedConfig
) -> None:
    config_file.write_text(config_file.read_text().replace("slots: 64", "slots: 1"))
    gate = threading.Event()

    def answer_later(job: CompletionJob) -> Any:
        gate.wait(30)
        return echo(job)

    with FakeWorker(redis_url, loaded, answer_later) as worker:
        until(lambda: bool(worker.jobs))
        why = why_of(openfall)
        gate.set()
    assert why == ""


def test_batches_are_listed_with_their_progress_the_last_one_first(
    openfall: Run, source: Path, answering: Any, tmp_path: Path
) -> None:
    openfall("batch", "run", "in.jsonl", "-o", "first.jsonl", "--limit", "3")
    openfall("batch", "run", "in.jsonl", "-o", "second.jsonl", "--limit", "5", "--name", "festival")
    batches = json.loads(openfall("batch", "list", "--json").stdout)
    assert [(batch["batch"], batch["lines"], batch["answered"], batch["waiting"]) for batch in batches] == [
        ("festival", 5, 5, 0), ("first", 3, 3, 0)]  # fmt: skip
    (tmp_path / "in.jsonl").unlink()
    assert "festival" in openfall("batch", "list").stdout
    (last, _) = json.loads(openfall("batch", "list", "--json").stdout)
    assert "in.jsonl cannot be read" in last["why"]


def test_no_batch_is_listed_in_words(openfall: Run) -> None:
    ran = openfall("batch", "list")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "no batch was run" in ran.stderr


def test_a_cancelled_batch_has_no_job_left_and_is_run_again_with_retry_failed(
    openfall: Run, waiting: str, worker_for: Callable[..., Any], out: Path
) -> None:
    assert openfall("batch", "cancel", "out").stdout == "40 jobs cancelled, 0 had ended\n"
    assert openfall("batch", "cancel", "out.jsonl").stdout == "0 jobs cancelled, 40 had ended\n"
    (listed,) = json.loads(openfall("batch", "list", "--json").stdout)
    assert (listed["uncollected"], listed["why"].split(":")[0]) == (40, "40 lines cancelled")
    assert "No job waits" in openfall("status").stdout
    ran = openfall(*RUN)
    assert ran.returncode == 5
    assert {row["error"]["code"] for row in read_rows(out)} == {"cancelled"}
    assert "40 lines cancelled: `--retry-failed`" in openfall("batch", "status", "out").stdout
    with worker_for():
        assert openfall(*RUN, "--retry-failed", "--limit", "3").returncode == 0
        assert every_line_has_one_row(out), "the failed lines beyond the limit keep their rows"
        status = json.loads(openfall("batch", "status", "out", "--json").stdout)
        assert (status["lines"], status["answered"], status["failed"]) == (40, 3, 37)
        assert openfall(*RUN, "--retry-failed").returncode == 0
    assert every_line_has_one_row(out)


def test_a_cancel_beside_an_active_run_says_that_it_may_submit_more(
    start: Start, openfall: Run, source: Path, store: Any
) -> None:
    with start(*RUN) as process:
        until_all_are_submitted(openfall, store)
        ran = openfall("batch", "cancel", "out", "--json")
        _, err = process.communicate(timeout=60)
    assert json.loads(ran.stdout) == {"batch": "out", "cancelled": 40, "had_ended": 0}
    assert "a run of this batch was active" in ran.stderr
    assert process.returncode == 5
    assert "0 of 40 answered, 40 failed" in err
    assert "failed now: 40 cancelled" in err


def test_a_batch_that_is_not_known_names_those_that_are(openfall: Run, waiting: str) -> None:
    for command in ("status", "cancel"):
        ran = openfall("batch", command, "autumn")
        assert ran.returncode == 2
        assert "Known batches: out" in ran.stderr
