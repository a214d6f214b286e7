"""`openfall held`, and what the other commands say of a job that nothing can serve."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from rich.console import Console

from openfall.config import LoadedConfig
from openfall.producers.cli.held import COLUMNS, held_rows
from openfall.producers.cli.held_text import describe_fall
from openfall.producers.cli.tables import table
from openfall.producers.operations.held_actions import describe_returned, is_ready
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason
from tests.producers.cli.conftest import Run
from tests.producers.hold_jobs import SORRY, submit_held
from tests.producers.page.snapshots import NOW, held_job


def test_held_jobs_are_listed_with_what_they_wait_for_the_longest_held_first(
    openfall: Run, loaded: LoadedConfig
) -> None:
    first, second = submit_held(loaded, "one", "two")
    (third,) = submit_held(loaded, "three", reason=HoldReason.POISONED, models=(), role="dialogue")
    jobs = json.loads(openfall("held", "list", "--json").stdout)
    waits_for = {job["id"]: job["release_models"] for job in jobs}
    assert waits_for == {first: ["tiny", "other"], second: ["tiny", "other"], third: []}
    status = openfall("status").stdout
    assert "2 jobs of chat held (outage), the first for" in status
    assert status.count("No worker is alive") == 1
    assert status.count("3 jobs") == 0, "held jobs stand in their lines"
    shown = openfall("held", "list").stdout
    assert {row.split()[0] for row in shown.splitlines() if "no worker runs" in row} == {first, second, third}
    assert "tiny, other" in shown


def test_the_list_shows_the_deadline_of_each_job(openfall: Run, loaded: LoadedConfig) -> None:
    (first,) = submit_held(loaded, "one", expires_in="3h", urgency="background")
    (second,) = submit_held(loaded, "two", expires_in="40m", urgency="background")
    rows = {row.split()[0]: row for row in openfall("held", "list").stdout.splitlines() if row.strip()}
    assert "in 3h" in rows[first]
    assert "in 40m" in rows[second]


def test_in_a_terminal_of_a_hundred_columns_the_list_can_be_read(loaded: LoadedConfig) -> None:
    job = HeldJob(id="8f21c6d0b7f94e0c9a51d3e2",
        role="dialogue", queue="gpu.tiny.background", reason=HoldReason.OWN_FAULT,
               why="tiny@rack: its breaker is open (timeout)", held_at=0.0, deadline=90_000.0,
               release_models=("tiny", "other"),
               ready_at=0.0, deliveries=2)  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(table(COLUMNS, held_rows([job, replace(job, deadline=100.0)], 720.0, loaded.catalog), 100))
    (row, late) = [line for line in console.file.getvalue().splitlines() if job.id in line]  # type: ignore[attr-defined]
    assert row.split()[:5] == [job.id, "12m", "in", "25h", "own_fault"]
    assert "in 0s" in late, "what is over is ended by the next sweep"


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        (("--reason", "poisoned"), "poisoned"),
        (("--role", "dialogue"), "poisoned"),
        (("--reason", "outage", "--role", "chat"), "outage"),
        (("--since", "1h", "--reason", "outage"), "outage"),
        (("--reason", "budget"), None),
    ],
)
def test_a_list_of_held_jobs_can_be_narrowed(
    openfall: Run, loaded: LoadedConfig, filters: tuple[str, ...], reason: str | None
) -> None:
    submit_held(loaded, "one")
    submit_held(loaded, "two", reason=HoldReason.POISONED, role="dialogue")
    jobs = json.loads(openfall("held", "list", "--json", *filters).stdout)
    assert [job["reason"] for job in jobs] == ([reason] if reason else [])
    if reason is None:
        assert "no held job matches" in openfall("held", "list", *filters).stderr


def test_jobs_held_before_a_moment_are_not_among_those_since(
    openfall: Run, loaded: LoadedConfig, redis_url: str
) -> None:
    (job_id,) = submit_held(loaded, "one")
    with redis.Redis.from_url(redis_url) as store:
        store.hincrby(f"of:job:{job_id}", "held_at", -3 * 3600 * 1000)
    assert json.loads(openfall("held", "list", "--since", "2h", "--json").stdout) == []
    assert len(json.loads(openfall("held", "list", "--since", "4h", "--json").stdout)) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("list", "--reason", "outrage"), "unknown reason 'outrage'. Did you mean 'outage'?"),
        (("list", "--role", "chit"), "unknown role 'chit'. Did you mean 'chat'?"),
        (("replay",), "which jobs?"),
        (("drop",), "which jobs?"),
        (("replay", "some-job-id", "--all"), "not both"),
        (("show", "some-job-id"), "no job some-job-id"),
        (("list", "--since", "soon"), "not a duration"),
        (("export", "--all", "-o", "/nowhere/at/all"), "/nowhere/at/all cannot be written"),
    ],
)
def test_an_error_has_its_remedy(openfall: Run, args: tuple[str, ...], words: str) -> None:
    ran = openfall("held", *args)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_a_held_job_shows_its_reason_its_interim_reply_and_its_release(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "one")
    shown = openfall("held", "show", job_id).stdout
    assert f"{job_id}  held for" in shown
    assert "why        no worker runs" in shown
    assert f"reply      canned reply\n           {SORRY}" in shown
    assert "release    by itself, when a worker of the pool gpu runs; expires" in shown
    record = json.loads(openfall("held", "show", job_id, "--json").stdout)
    assert record["released"].startswith("by itself")
    assert record["reply"]["text"] == SORRY
    assert "body" not in record["job"]


def test_what_waits_for_a_person_names_the_command(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "one", reason=HoldReason.POISONED, models=(), reply="")
    shown = openfall("held", "show", job_id).stdout
    assert "release    read the end of the log of its last worker, then replay it once or drop it" in shown
    assert f"(openfall held replay {job_id}); expires" in shown
    assert "reply      no reply" in shown


def test_what_waits_for_a_model_that_is_not_configured_any_more_waits_for_a_person(
    openfall: Run, loaded: LoadedConfig
) -> None:
    (job_id,) = submit_held(loaded, "one", models=("gone",))
    goes_on = f"replay it when gone is in the configuration again (openfall held replay {job_id}); expires"
    assert goes_on in openfall("held", "show", job_id).stdout
    assert goes_on in openfall("job", "why", job_id).stdout
    assert "operator" in openfall("held", "list").stdout.split()
    assert re.search(r"1 job.* held \(outage\).*\. An operator decides", openfall("status").stdout)


def test_a_job_whose_models_are_all_gone_needs_an_operator(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "one", models=())
    assert (
        "release    replay it when a model of its chain is in the configuration again"
        in openfall("held", "show", job_id).stdout
    )


def test_show_of_a_job_that_is_not_held_prints_its_state(openfall: Run) -> None:
    job_id = openfall("enqueue", stdin="x").stdout.strip()
    ran = openfall("held", "show", job_id)
    assert (ran.returncode, f"{job_id} is not held, it is queued" in ran.stderr) == (2, True)
    assert f"{job_id} is not held: it is queued" in openfall("held", "replay", job_id).stderr


def test_the_health_has_the_held_jobs_and_their_release(openfall: Run, loaded: LoadedConfig) -> None:
    submit_held(loaded, "one", "two")
    submit_held(loaded, "three", reason=HoldReason.POISONED, models=())
    health = openfall("status").stdout
    assert "they return by themselves when a worker of the pool gpu runs" in health.casefold()
    assert "held (poisoned)" in health
    assert "An operator decides" in health
    status = json.loads(openfall("status", "--json").stdout)
    assert status["held_by_reason"] == {"outage": 2, "poisoned": 1}


def test_a_replayed_job_is_answered(openfall: Run, loaded: LoadedConfig, worker_for: Callable[..., Any]) -> None:
    (job_id,) = submit_held(loaded, "hold me")
    assert f"{job_id} is queued" in openfall("held", "replay", job_id).stdout
    with worker_for():
        assert openfall("job", "wait", job_id).stdout == "echo hold me\n"


def test_many_are_replayed_at_once_and_only_those_that_are_meant(openfall: Run, loaded: LoadedConfig) -> None:
    submit_held(loaded, *(f"prompt {n}" for n in range(150)))
    (other,) = submit_held(loaded, "not this one", reason=HoldReason.POISONED)
    assert openfall("held", "replay", "--reason", "outage").stdout == "150 jobs returned to their queues\n"
    assert [job["id"] for job in json.loads(openfall("held", "list", "--json").stdout)] == [other]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 jobs returned to their queues"),
        (1, "1 job returned to its queue"),
        (2_000, "2,000 jobs returned to their queues"),
    ],
)
def test_the_number_of_returned_jobs_is_shown_in_words(count: int, text: str) -> None:
    assert describe_returned(count) == text


def test_ready_are_those_one_of_whose_models_takes_calls(
    openfall: Run, loaded: LoadedConfig, worker_for: Callable[..., Any]
) -> None:
    (blocked,) = submit_held(loaded, "one", models=("tiny",))
    (ready,) = submit_held(loaded, "two", models=("tiny", "other"))
    with worker_for():
        assert openfall("breakers", "force-open", "rack/tiny").returncode == 0
        replayed = json.loads(openfall("held", "replay", "--ready", "--json").stdout)
    assert replayed == [{"id": ready, "state": "queued"}]
    assert [job["id"] for job in json.loads(openfall("held", "list", "--json").stdout)] == [blocked]


@pytest.mark.parametrize(
    ("reason", "takes_calls", "ready_at", "ready"),
    [
        (HoldReason.OUTAGE, {"tiny"}, 0.0, True),
        (HoldReason.OUTAGE, set(), 0.0, False),
        (HoldReason.OUTAGE, {"tiny"}, NOW + 60, True),
        (HoldReason.BUDGET, {"tiny"}, NOW + 60, False),
        (HoldReason.BUDGET, {"tiny"}, NOW, True),
        (HoldReason.POISONED, {"tiny"}, 0.0, False),
    ],
)
def test_a_job_is_ready_where_a_model_would_be_called_for_it_now(
    reason: HoldReason, takes_calls: set[str], ready_at: float, ready: bool
) -> None:
    assert is_ready(held_job(reason, "tiny", ready_at=ready_at), takes_calls, NOW) == ready


def test_a_dropped_job_ends_as_cancelled(openfall: Run, loaded: LoadedConfig) -> None:
    (job_id,) = submit_held(loaded, "never mind")
    refused = openfall("held", "drop", "--all")
    assert (refused.returncode, "add --yes" in refused.stderr) == (2, True)
    assert openfall("held", "drop", "--all", "--yes").stdout == "1 job dropped\n"
    ended = openfall("job", "wait", job_id)
    assert (ended.returncode, f"job {job_id} cancelled: dropped by an operator" in ended.stderr) == (1, True)
    assert json.loads(openfall("held", "drop", job_id, "--yes", "--json").stdout) == {"dropped": []}
    again = openfall("held", "drop", job_id)  # nothing would be lost, so it asks nothing
    assert (again.returncode, again.stdout) == (0, "0 jobs dropped\n")


def test_held_jobs_are_exported_as_a_batch_that_can_be_run(
    openfall: Run, loaded: LoadedConfig, tmp_path: Path, worker_for: Callable[..., Any]
) -> None:
    (job_id,) = submit_held(loaded, "take me elsewhere", role="dialogue", max_tokens=7)
    out = tmp_path / "held.jsonl"
    ran = openfall("held", "export", "-o", str(out))
    assert "1 job written, with their prompts" in ran.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    line = json.loads(out.read_text())
    assert (line["custom_id"], line["url"]) == (job_id, "/v1/chat/completions")
    assert line["body"] == {
        "model": "dialogue", "messages": [{"role": "user", "content": "take me elsewhere"}], "max_tokens": 7,
    }  # fmt: skip
    assert ran.stderr.endswith("with their prompts: the file is private\n")
    printed = openfall("held", "export")
    assert printed.stdout == out.read_text()
    assert printed.stderr.endswith("written, with their prompts\n")
    assert openfall("held", "drop", job_id, "--yes").returncode == 0
    with worker_for():
        assert openfall("batch", "run", str(out), "-o", str(tmp_path / "out.jsonl")).returncode == 0
    answer = json.loads((tmp_path / "out.jsonl").read_text())
    assert answer["custom_id"] == job_id
    assert "echo take me elsewhere" in str(answer["response"])


def test_the_log_has_each_fall_its_reason_and_its_reply(openfall: Run, loaded: LoadedConfig) -> None:
    (first,) = submit_held(loaded, "one")
    (second,) = submit_held(loaded, "two", reply="", role="dialogue")
    lines = openfall("held", "log").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(
        f"{first}  chat/interactive  outage: no worker runs  · tried: no call ended  "
        "· got: canned_reply, the job continues"
    )
    assert f"{second}  dialogue/background" in lines[1]
    assert lines[1].endswith("got: nothing, the job continues")
    falls = [json.loads(row) for row in openfall("held", "log", "--json", "--since", "1h").stdout.splitlines()]
    assert [fall["id"] for fall in falls] == [first, second]
    assert "counts" not in falls[0]


def test_the_log_has_attempts_and_unreadable_jobs() -> None:
    tried = [{"model": "tiny", "backend": "rack", "error": "timeout"}]
    fall = {"at": 1.8e9, "id": "job-00001", "reason": "unreadable", "detail": "schema 9", "by": None, "final": False}
    assert "tried: tiny@rack timeout" in describe_fall({**fall, "urgency": "batch", "tried": tried})
    assert "job-00001  -/-  unreadable: schema 9" in describe_fall(fall)


def test_job_why_of_a_held_job_has_its_fall_its_reply_and_its_hold_in_order(
    openfall: Run, loaded: LoadedConfig
) -> None:
    (job_id,) = submit_held(loaded, "one")
    lines = openfall("job", "why", job_id).stdout.splitlines()
    happened = [line.split("s  ", 1)[1] for line in lines if line.lstrip().startswith("+")]
    assert [line.split(" (")[0] for line in happened[1:]] == [
        "fell",
        "interim reply: canned reply",
        "held",
    ]
    assert "continues: by itself, when a worker of the pool gpu runs" in lines[-1]
    shown = openfall("job", "show", job_id).stdout
    assert "held        outage: no worker runs" in shown
    assert "interim     canned reply" in shown
    assert "continues   by itself" in shown
