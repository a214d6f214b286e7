"""`openfall runbook`: the sections that the page, `top` and `status` name."""

from __future__ import annotations

import pytest

from openfall.producers.runbook import RunbookSection
from tests.producers.cli.conftest import Run


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("No worker", "openfall work POOL"),
        ("no WORKER", "openfall work POOL"),
        ("memory", "CONFIG SET maxmemory"),
        ("paused", "openfall queues resume QUEUE"),
    ],
)
def test_a_section_is_printed_by_its_heading_or_a_part_of_it(openfall: Run, typed: str, expected: str) -> None:
    assert expected in " ".join(openfall("runbook", typed).stdout.split())


def test_in_a_pipe_the_text_is_as_it_is_written_without_padding(openfall: Run) -> None:
    lines = openfall("runbook", "No worker").stdout.splitlines()
    assert lines[0].startswith("# ")
    assert not any(line != line.rstrip() for line in lines)


def test_without_a_heading_all_of_them_are_listed(openfall: Run) -> None:
    assert set(RunbookSection) <= set(openfall("runbook").stdout.splitlines())


def test_an_unknown_heading_is_refused(openfall: Run) -> None:
    ran = openfall("runbook", "volcano")
    assert ran.returncode == 2
    assert "no heading of the runbook has 'volcano'" in ran.stderr
