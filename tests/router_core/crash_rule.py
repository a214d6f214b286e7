"""The rule of the script `reap` about a job whose worker died, in Python: for the reference model."""

from __future__ import annotations

from enum import StrEnum

from openfall.router_core.deciding.crash_limits import CONDEMN_AFTER_ALONE, SUSPECT_AFTER


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
