"""The line on top that says what Redis has lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.duration_text import format_time
from openfall.producers.fleet_problems import list_problems, worst
from openfall.producers.page.sections import headline_section
from openfall.router_core.state.lost_writes import LostWrites
from tests.producers.page.snapshots import NOW, STATUS, calm_snapshot


@pytest.mark.parametrize(
    ("since", "words"),
    [
        (None, f"Redis lost all that it had stored until {format_time(NOW - 60)}"),
        (NOW - 90, f"Redis lost what it had stored from {format_time(NOW - 90)} to {format_time(NOW - 60)}"),
    ],
    ids=["everything", "a part"],
)
def test_a_loss_is_named_with_its_time_and_the_command_that_ends_the_line(since, words, tmp_path: Path) -> None:
    lost = LostWrites(noticed_at=NOW - 50, until=NOW - 60, since=since, worker="w")
    snapshot = calm_snapshot(tmp_path)
    snapshot = replace(snapshot, status=replace(STATUS, lost_writes=lost))
    shown: Any = headline_section.context(snapshot)
    (cause,) = [cause for cause in shown["causes"] if cause.text == words]
    assert cause.remedy.endswith("DEL of:lost-writes")
    assert worst(list_problems(snapshot.status, snapshot.held, 0, ())) == "warning"
