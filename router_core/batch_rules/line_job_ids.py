"""The id of the job of a line of a batch."""

from __future__ import annotations

import re

_JOB_ID = re.compile(r"([0-9a-f]{16})-(\d{1,9})")


def job_id_of(batch_id: str, index: int) -> str:
    """The id of the job of a line. It is always the same, so a line that is submitted twice is one job."""
    return f"{batch_id.rpartition('_')[2]}-{index}"


def index_of(batch_id: str, job_id: str, lines: int) -> int | None:
    """The line of a job. None: the job is not of this batch."""
    match = _JOB_ID.fullmatch(job_id)
    if match is None or match[1] != batch_id.rpartition("_")[2] or int(match[2]) >= lines:
        return None
    return int(match[2])
