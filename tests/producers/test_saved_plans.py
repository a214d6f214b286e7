"""The plans of batches stay as long as anything of their jobs, and no longer."""

from __future__ import annotations

import os
import time
from pathlib import Path

from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.saved_plans import KEPT_SECONDS, jobs_path, list_batches, save_plan


def test_a_run_removes_the_plans_of_batches_that_are_long_over(tmp_path: Path) -> None:
    old = time.time() - KEPT_SECONDS - 60
    for name in ("over", "written-to", "waits"):
        out = tmp_path / f"{name}.out"
        out.write_text("")
        jobs_path(tmp_path, name).parent.mkdir(exist_ok=True)
        jobs_path(tmp_path, name).write_text("")
        assert save_plan(tmp_path, BatchPlan(name=name, source=tmp_path / "in.jsonl"), out) == ""
    aged = {"over": (".json", ".jobs", ".out"), "written-to": (".json", ".jobs"), "waits": (".json", ".out")}
    for name, endings in aged.items():
        for ending in endings:
            path = tmp_path / f"{name}.out" if ending == ".out" else tmp_path / "batches" / f"{name}{ending}"
            os.utime(path, (old, old))
    assert save_plan(tmp_path, BatchPlan(name="new", source=tmp_path / "in.jsonl"), tmp_path / "new.out") == ""
    assert {batch.plan.name for batch in list_batches(tmp_path) if batch.plan} == {"written-to", "waits", "new"}
    assert not jobs_path(tmp_path, "over").exists()
    assert (tmp_path / "over.out").exists()
