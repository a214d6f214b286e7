"""The words for what releases a held job."""

from __future__ import annotations

import pytest

from openfall.producers.held_release_text import FleetBlocks, describe_release
from openfall.router_core.vocabulary import HoldReason
from tests.producers.page.snapshots import held_job
from tests.router_core.decisions import CATALOG, NOW

SERVED = frozenset({"gpu.small.batch", "cloud.opus.batch"})


@pytest.mark.parametrize(
    ("models", "late_models", "words"),
    [
        (("small",), ("opus",), "small accepts calls again or opus may be called because the job is late"),
        ((), ("opus", "haiku"), "opus or haiku may be called because the job is late"),
        (("small", "gone"), ("removed",), "small accepts calls again"),
    ],
)
def test_a_model_that_is_kept_for_late_jobs_is_named_beside_those_that_release_a_job(
    models: tuple[str, ...], late_models: tuple[str, ...], words: str
) -> None:
    job = held_job(HoldReason.OUTAGE, *models, late_models=late_models, queue="gpu.small.batch", deadline=NOW + 60)
    blocks = FleetBlocks(paused=frozenset(), served=SERVED, is_local_only=False, away=frozenset({"small"}), loads={})
    assert describe_release(job, NOW, CATALOG, blocks).startswith(f"by itself, when {words}; expires ")


def test_a_held_job_that_is_not_late_yet_says_when_it_is() -> None:
    job = held_job(HoldReason.OUTAGE, late_models=("opus",), late_at=NOW + 90, queue="gpu.small.batch", deadline=NOW)
    blocks = FleetBlocks(paused=frozenset(), served=SERVED, is_local_only=False, away=frozenset(), loads={})
    words = "by itself, when opus may be called because the job is late, which it is 90s from now; expires "
    assert describe_release(job, NOW, CATALOG, blocks).startswith(words)
