"""Whether a job kills its workers. A job is condemned only on evidence: workers died while they ran it alone.

The script `reap` applies the same rule, with these numbers.
"""

from __future__ import annotations

from enum import StrEnum

SUSPECT_AFTER = 2
"""Crashes, beside other jobs or alone, after which a job runs alone."""
CONDEMN_AFTER_ALONE = 3
"""Crashes without any other job on the worker after which a job is held as poisoned.

A worker that is killed by chance takes one job alone with it now and then. If a call ends with the death of its worker
with the chance p, a healthy job is condemned with the chance p to the fifth power: one job of 3.2 million where every
twentieth call ends so, one of 100,000 where every tenth does."""


class CrashVerdict(StrEnum):
    """The next state of a job whose worker died."""

    QUEUED = "queued"  # it runs as before
    SUSPECT = "suspect"  # it runs alone
    FALLEN = "fallen"  # it is held as poisoned


def judge_crash(crashes: int, crashes_alone: int) -> CrashVerdict:
    """The verdict about a job after a crash. `crashes` are all of them, `crashes_alone` those without another job."""
    if crashes_alone >= CONDEMN_AFTER_ALONE:
        return CrashVerdict.FALLEN
    return CrashVerdict.SUSPECT if crashes >= SUSPECT_AFTER else CrashVerdict.QUEUED
