"""Who waits for a job at the HTTP door.

A door renews leases, so that no job runs for a caller who has left. A repeat of a request gets the job of the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openfall.router_core.jobs.envelope import repeat_digest
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.redis_connection import RedisConnection

PRESENCE_INTERVAL_SECONDS = 1.0
PRESENCE_SECONDS = 3.0
"""A door that has not renewed its presence for this long is gone: its jobs may be joined."""
LEASE_INTERVAL_SECONDS = 5.0
LEASE_SECONDS = 15.0
"""A job whose lease no door renews ends after this time, if it ends without its caller."""
LINGER_SECONDS = 15.0
"""How long a job goes on after its caller has left before the head of the response: SDKs repeat after 0.5 to 8 s."""
PATIENCE_SECONDS = 120.0
"""The same after the door itself has sent the caller away, to come again."""
RESTART_SECONDS = 30.0
"""The same while a door restarts."""
_AGAIN_SECONDS = 5.0
_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Attendance:
    """A caller is connected to this process of the door. `joins_repeats`: a repeat of the request joins the job once no
    caller is connected to it. `ends_without_caller`: no other caller can read the answer."""

    door: str
    joins_repeats: bool = True
    ends_without_caller: bool = True


def attendance_arguments(job: CompletionJob, attendance: Attendance | None) -> dict[str, Any]:
    """The arguments of the script `accept`."""
    if attendance is None:
        return {}
    return {
        "door": attendance.door,
        "repeat_digest": repeat_digest(job) if attendance.joins_repeats else None,
        "attended_ms": int(LEASE_SECONDS * 1000) if attendance.ends_without_caller else None,
    }


async def attend(
    link: RedisConnection, door: str, job_ids: Iterable[str], *, gone: Iterable[str] = (), answered: Iterable[str] = ()
) -> list[str]:
    """Renew the presence of a door, and the leases of these jobs. The doors that are present, without those `gone`.

    `answered`: jobs whose callers have their answers. The same request is then a new one, also when the door has ended.
    """
    arguments = {
        "door": door,
        "presence_ms": int(PRESENCE_SECONDS * 1000),
        "lease_ms": int(LEASE_SECONDS * 1000),
        "jobs": list(job_ids),
        "gone": list(gone),
        "answered": list(answered),
    }
    return [read_text(name) for name in await link.script("attend", arguments)]


async def let_go(link: RedisConnection, door: str, job_id: str, linger_seconds: float) -> None:
    """The caller of a job has left this door. No effect if the job has a caller at another door by now."""
    await link.script("let_go", {"id": job_id, "door": door, "linger_ms": int(linger_seconds * 1000)})


async def left_jobs(link: RedisConnection) -> list[str]:
    """Unfinished jobs whose callers have left for good."""
    reply = await link.script("left_jobs", {"limit": _LIMIT, "again_ms": int(_AGAIN_SECONDS * 1000)})
    return [read_text(job_id) for job_id in reply]
