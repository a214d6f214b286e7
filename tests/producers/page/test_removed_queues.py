"""A model or a pool that left the configuration while jobs waited for it: no worker is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from tests.producers.page.snapshots import QUEUE, STATUS, calm_snapshot


@pytest.fixture
def calm(tmp_path: Path) -> PageSnapshot:
    return calm_snapshot(tmp_path)


@pytest.mark.parametrize(
    ("queue", "missing"),
    [("gpu.gone.batch", "model gone"), ("attic.tiny.batch", "model tiny in the pool attic")],
    ids=["a removed model", "a renamed pool"],
)
def test_jobs_of_a_removed_queue_are_not_blamed_on_a_missing_worker(
    calm: PageSnapshot, queue: str, missing: str
) -> None:
    status = replace(STATUS, queues=(QUEUE, replace(QUEUE, name=queue, waiting=2)))
    shown: Any = headline_section.context(replace(calm, status=status))
    assert [(cause.text, cause.effect, cause.remedy) for cause in shown["causes"]] == [
        (f"The configuration has no {missing}, and no worker serves {queue}", "2 jobs wait", "")
    ]
    assert "the jobs go to another model of their chain or are held" in shown["causes"][0].advice
