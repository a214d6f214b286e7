"""`openfall outbox retry` and `drop`: which notifications a name means, and what becomes of them."""

from __future__ import annotations

import json

import pytest

from tests.producers.cli.conftest import Run
from tests.producers.cli.test_outbox_command import posted

JOB, NOTICE, LOST = "job:job-00001:done", "notice:discord:outage-17:began", "job:job-00002:degraded"


def entries(openfall: Run) -> tuple[set[str], set[str]]:
    """The pending entries, and those that failed for good."""
    values = json.loads(openfall("outbox", "--json").stdout)
    waiting, failed = ({entry["entry"] for entry in values[name]} for name in ("waiting", "given_up"))
    return waiting, failed


def test_a_notification_that_failed_for_good_is_tried_again_by_the_first_letters_of_its_job(
    openfall: Run, redis_url: str
) -> None:
    posted(redis_url, JOB, NOTICE, LOST)
    ran = openfall("outbox", "retry", "job-00002")
    assert (ran.returncode, ran.stdout) == (0, "1 of 1 notifications due now\n")
    assert entries(openfall) == ({JOB, NOTICE, LOST}, set())
    assert openfall("outbox", "retry", "outage").returncode == 0
    audit = json.loads(openfall("audit", "--json").stdout)
    assert [(each["action"], each["subject"]) for each in audit] == [
        ("outbox.retry", "outage-17"),
        ("outbox.retry", "job-00002"),
    ]


def test_all_that_failed_are_dropped_after_a_question(openfall: Run, redis_url: str) -> None:
    posted(redis_url, JOB, NOTICE, LOST)
    refused = openfall("outbox", "drop", "--failed")
    assert (refused.returncode, "add --yes" in refused.stderr) == (2, True)
    assert entries(openfall)[1] == {LOST}
    assert openfall("outbox", "drop", "--failed", "--yes").returncode == 0
    assert entries(openfall) == ({JOB, NOTICE}, set())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--failed or --waiting"),
        (("--failed", "job-00001"), "not both"),
        (("job",), "at least 4 letters"),
        (("job-0000",), "begins the ids of several"),
        (("lantern",), "unknown entry of the outbox 'lantern'"),
    ],
)
def test_what_names_no_single_notification_changes_nothing(
    openfall: Run, redis_url: str, arguments: tuple[str, ...], message: str
) -> None:
    posted(redis_url, JOB, NOTICE, LOST)
    before = entries(openfall)
    for verb in ("retry", "drop"):
        ran = openfall("outbox", verb, *arguments)
        assert ran.returncode == 2
        assert message in ran.stderr
    assert entries(openfall) == before


def test_a_whole_entry_names_itself(openfall: Run, redis_url: str) -> None:
    posted(redis_url, JOB, NOTICE, LOST)
    ran = openfall("outbox", "drop", NOTICE, "--yes", "--json")
    assert json.loads(ran.stdout) == {"changed": 1, "selected": 1}
    assert entries(openfall) == ({JOB}, {LOST})
