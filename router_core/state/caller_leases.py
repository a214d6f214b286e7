"""The leases of callers: for which jobs a caller waits at the HTTP gateway.

A gateway renews leases, so that no job runs for a caller who has left. A repeat of a request gets the job of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_fingerprint import repeat_digest
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.redis_connection import RedisConnection

PRESENCE_INTERVAL_SECONDS = 1.0
PRESENCE_SECONDS = 3.0
"""A gateway that has not renewed its presence for this long is gone: its jobs may be joined."""
LEASE_INTERVAL_SECONDS = 5.0
LEASE_SECONDS = 15.0
"""A job whose lease no gateway renews ends after this time, if it ends without its caller."""
LINGER_SECONDS = 15.0
"""How long a job goes on after its caller has left before the head of the response: SDKs repeat after 0.5 to 8 s."""
RETURN_SECONDS = 120.0
"""The same after the gateway itself has sent the caller away, to come again."""
RESTART_SECONDS = 30.0
"""The same while a gateway restarts."""
CALLER_LEFT = "its caller has left"
"""Why such a job ends."""
MAX_REPEATS = 16
"""Equal requests of one key that repeats can join. Of more, the latest count."""
MAX_ANSWERED = 500
"""Jobs that one renewal marks as answered."""


@dataclass(frozen=True, slots=True)
class ConnectedCaller:
    """A caller is connected to this process of the gateway. A repeat of the request joins the job once no caller is
    connected to it. `ends_without_caller`: no other caller can read the answer.

    `left_jobs` of equal requests have no caller any more, each with its gateway. `is_new`: callers wait for all others,
    so this request is no repeat of theirs."""

    gateway_id: str
    ends_without_caller: bool = True
    left_jobs: tuple[tuple[str, str], ...] = ()
    is_new: bool = False


class AwaitedJob(NamedTuple):
    """The job of an equal request. Its caller waits at a process of a gateway, whose presence ends in some seconds."""

    id: str
    gateway_id: str
    present_seconds: float


class EqualRequests(Exception):
    """Gateways say that callers wait for the jobs of equal requests. A gateway that was killed says so for 3 s more."""

    def __init__(self, jobs: tuple[AwaitedJob, ...]) -> None:
        super().__init__("equal requests are in flight")
        self.jobs = jobs


def caller_arguments(job: CompletionJob, connected_caller: ConnectedCaller | None, digest: str) -> dict[str, Any]:
    """The arguments of the script `accept`. `digest`: that of the job."""
    if connected_caller is None:
        return {}
    return {
        "gateway": connected_caller.gateway_id,
        "repeat_digest": repeat_digest(job, digest),
        "caller_lease_ms": int(LEASE_SECONDS * 1000) if connected_caller.ends_without_caller else None,
        "max_repeats": MAX_REPEATS - 1,
        "left_jobs": connected_caller.left_jobs or None,
        "is_new": connected_caller.is_new or None,
    }


def read_awaited_jobs(rows: Iterable[Sequence[bytes]]) -> tuple[AwaitedJob, ...]:
    """The awaited jobs in a reply of the script `accept`."""
    return tuple(
        AwaitedJob(read_text(job), read_text(gateway_id), int(left_ms) / 1000) for job, gateway_id, left_ms in rows
    )


async def renew_leases(
    link: RedisConnection, gateway_id: str, catalog: str, job_ids: Iterable[str], answered: Iterable[str] = ()
) -> None:
    """Renew the presence of a gateway, whose catalog has this digest, and the leases of these jobs. Those `answered`
    are joined by no repeat."""
    arguments = {
        "gateway": gateway_id,
        "catalog": catalog,
        "presence_ms": int(PRESENCE_SECONDS * 1000),
        "lease_ms": int(LEASE_SECONDS * 1000),
        "jobs": list(job_ids),
        "answered": list(answered),
    }
    await link.script("renew_caller_leases", arguments)


async def is_held(link: RedisConnection, job_id: str) -> bool:
    """Whether a job is held now. Its events say whether it ever was."""
    return bool(await link.command("HGET", keys.RECORD + job_id, "state") == b"held")


async def let_go(link: RedisConnection, gateway_id: str, job_id: str, linger_seconds: float) -> None:
    """The caller of a job has left this gateway. No effect if the job has a caller at another gateway by now."""
    await link.script("caller_left", {"id": job_id, "gateway": gateway_id, "linger_ms": int(linger_seconds * 1000)})
