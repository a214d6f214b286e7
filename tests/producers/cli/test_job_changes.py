"""`openfall job cancel`, `replay` and `drop` of several jobs: by ids, and by the filters of `job list`."""

from __future__ import annotations

import json

import pytest

from openfall.config import LoadedConfig
from tests.producers.cli.conftest import Run
from tests.producers.cli.test_job_list import config_text, jobs, listed, submit
from tests.producers.hold_jobs import submit_held

__all__ = ["config_text", "jobs"]


def test_several_jobs_are_cancelled_by_their_ids(openfall: Run, jobs: None) -> None:
    ran = openfall("job", "cancel", "tags-000", "group-001", "done")
    assert ran.stdout.splitlines() == [
        "tags-0001 is cancelled",
        "group-001 is cancelled",
        "done-0001 had ended already",
    ]
    (entry,) = json.loads(openfall("audit", "--json").stdout)[:1]
    assert (entry["action"], entry["effect"]) == ("job.cancel", "2 of 3 cancelled")
    assert entry["subject"] == "tags-0001 group-001 done-0001"


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (("--role", "tags"), ["group-001", "held-0001"]),
        (("--producer", "bot*", "--state", "queued"), ["tags-0001", "held-0001"]),
        (("--state", "held"), ["group-001", "tags-0001"]),
        (("--since", "1h"), []),
        (("--state", "answered"), ["group-001", "tags-0001", "held-0001"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_all_jobs_that_match_are_cancelled(
    openfall: Run, jobs: None, filters: tuple[str, ...], left: list[str]
) -> None:
    number = 3 - len(left)
    shown = openfall("job", "cancel", *filters, "--yes").stdout
    assert shown.startswith(f"{number} of {number} job")
    assert listed(openfall, "--state", "queued", "--state", "held") == left


def test_held_jobs_are_replayed_and_dropped_by_ids_and_by_filters(openfall: Run, loaded: LoadedConfig) -> None:
    for number in range(4):
        submit_held(loaded, "x", id=f"held-000{number}", urgency="background")
    submit(loaded, "waits-001")
    shown = json.loads(openfall("job", "replay", "held-0000", "waits-001", "--json").stdout)
    assert shown == [{"id": "held-0000", "changed": True}, {"id": "waits-001", "changed": False}]
    assert openfall("job", "replay", "--id", "0001").stdout == "1 of 1 job returned to its queue\n"
    assert openfall("job", "drop", "held-0002").stdout == "held-0002 is dropped\n"
    assert openfall("job", "drop", "--urgency", "background", "--yes").stdout == "1 of 1 job dropped\n"
    assert listed(openfall, "--state", "held") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name job ids, or filters"),
        (("tags-0001", "--role", "tags"), "name job ids, or filters"),
        (("--role", "tags"), "this would cancel 1 job: add --yes"),
        (("--role", "tgas", "--yes"), "tgas"),
        (("--state", "hled", "--yes"), "hled"),
        (("nothing-01",), "nothing-01"),
    ],
    ids=["no job", "ids and filters", "no confirmation", "an unknown role", "an unknown state", "an unknown id"],
)
def test_a_selection_that_is_none_changes_nothing(
    openfall: Run, jobs: None, arguments: tuple[str, ...], words: str
) -> None:
    ran = openfall("job", "cancel", *arguments)
    assert ran.returncode != 0
    assert words in ran.stderr
    assert listed(openfall, "--state", "queued") == ["group-001", "tags-0001"]
