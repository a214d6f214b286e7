"""The plans of the batches of this machine, by which `batch list`, `status` and `cancel` know a batch by its name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json, to_json

from openfall.producers.errors import BatchFileError
from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.router_core.state.batches import LISTED_SECONDS

KEPT_SECONDS = LISTED_SECONDS
"""How long a plan stays after the last run of its batch and the last row of its output: as long as the gateway lists a
batch. Its jobs and their results are gone before, unless `hold_for` or `retention: results` is longer; a run of the
same command saves the plan again."""


@dataclass(frozen=True, slots=True)
class SavedBatch:
    """A batch and its output file. `plan` None: the file is there, but this configuration has not run the batch."""

    out: Path
    plan: BatchPlan | None


def save_plan(data_dir: Path, plan: BatchPlan, out: Path) -> str:
    """Save a plan. A run of the first lines alone does not make the batch shorter. Returns why it cannot be saved; then
    only the commands that need it fail."""
    path, source = _path(data_dir, plan.name), plan.source.resolve()
    limit, before = plan.limit, _load(path)
    if limit is not None and before is not None and before.plan is not None and before.plan.source == source:
        limit = None if before.plan.limit is None else max(limit, before.plan.limit)
    saved = {"source": source, "out": out.resolve(), **plan.options, "limit": limit}
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_bytes(to_json(saved))
        draft.replace(path)
        _remove_old(path.parent, time.time())
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        return (
            f"{path.parent} cannot be written ({error.strerror}): openfall batch list, retry and cancel do not know it"
        )
    return ""


def _remove_old(directory: Path, now: float) -> None:
    for path in directory.glob("*.json"):
        jobs = path.with_suffix(".jobs")
        saved = _load(path)
        changed_at = max(map(_changed_at, (path, jobs, *((saved.out,) if saved else ()))))
        if now - changed_at > KEPT_SECONDS:
            path.unlink(missing_ok=True)
            jobs.unlink(missing_ok=True)


def _changed_at(path: Path) -> float:
    """Epoch seconds. 0: it is gone, or cannot be reached."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def find_batch(data_dir: Path, name: Path) -> SavedBatch:
    """The batch of an output file or of a name. Raises `BatchFileError`."""
    saved = _load(_path(data_dir, name.stem if name.is_file() else str(name)))
    if name.is_file() and (saved is None or saved.out != name.resolve()):
        return SavedBatch(name, None)
    if saved is None:
        known = ", ".join(sorted(batch.plan.name for batch in list_batches(data_dir) if batch.plan)) or "none"
        raise BatchFileError(
            f"no batch {str(name)!r}: name its output file, or the name under which it was run. Known batches: {known}"
        )
    return saved


def list_batches(data_dir: Path) -> Iterator[SavedBatch]:
    """The batches that were run on this machine with this configuration, the last one first."""
    paths = list((data_dir / "batches").glob("*.json"))
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        if saved := _load(path):
            yield saved


def jobs_path(data_dir: Path, name: str) -> Path:
    """The file of the ids of its jobs, see `submitted_jobs.py`."""
    return data_dir / "batches" / f"{name}.jobs"


def _path(data_dir: Path, name: str) -> Path:
    return data_dir / "batches" / f"{name}.json"


def _load(path: Path) -> SavedBatch | None:
    """None: there is no such file, or a crash has damaged it."""
    try:
        saved = from_json(path.read_bytes())
        out, source = Path(saved.pop("out")), Path(saved.pop("source"))
        return SavedBatch(out, BatchPlan(name=path.stem, source=source, **saved))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
