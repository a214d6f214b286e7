"""The errors of everything that needs Redis."""

from __future__ import annotations

from collections.abc import Sequence

from redis import exceptions as redis_errors

from openfall.router_core.errors import OpenfallError

ID_LENGTH = 24
"""The characters of an id that a client makes."""


class StoreError(OpenfallError):
    """Any of the below. The message names the remedy and carries no secret."""


class StoreUnreachable(StoreError):
    """Redis does not answer: try again later. The request may have been carried out; every script is idempotent."""

    remedy = "retry"


class StoreRefused(StoreError):
    """Redis refuses the request: wrong password, no permission, or an unsuitable server."""

    remedy = "see the message"


class UnsuitableRedis(StoreRefused):
    """Redis would not keep accepted jobs, or cannot run the scripts: nothing was accepted. The message has a remedy for
    each cause, and names the risk that an operator may accept instead."""

    remedy = "run the command in the message"


class NotConfirmed(StoreError):
    """The job is accepted, but Redis did not confirm in time that it is on its disk, or on those of its replicas.

    Submit it again with the same id or idempotency key: that is harmless. `on_disk` and `on_replicas`: the servers
    that have confirmed."""

    remedy = "submit it again with the same id or key; that is harmless"

    def __init__(self, job_id: str, confirmed: tuple[int, int], replicas: int, seconds: float) -> None:
        self.job_id, (self.on_disk, self.on_replicas) = job_id, confirmed
        disk = "Redis has it on its disk" if self.on_disk else "Redis has not confirmed that it is on its disk"
        copies = f", {self.on_replicas} of {replicas} replicas have it on theirs" if replicas else ""
        super().__init__(
            f"job {job_id} is accepted but not confirmed: after {seconds:g} s {disk}{copies}. Submit it again with the "
            "same id or idempotency key: that is harmless. If it lasts, check `appendonly` and the disk of Redis"
            f"{' and its replicas' if replicas else ''}"
        )


class SentinelTrouble(redis_errors.ConnectionError):
    """The Sentinels do not lead to a primary. `refused`: waiting does not help."""

    def __init__(self, message: str, *, refused: bool) -> None:
        self.refused = refused
        super().__init__(message)


class StoreFull(StoreError):
    """Redis has no memory or disk left: nothing was accepted. Jobs that it accepted before are safe."""

    remedy = "free some; accepted jobs are safe"


class Backpressure(StoreError):
    """No job is accepted now, and nothing was written. Try again after `retry_after` seconds.

    `summary` is a short name for it.
    """

    summary = ""
    remedy = "wait `retry_after` seconds, then retry"

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class QueueFull(Backpressure):
    """`waiting` jobs of `queue` are before this one, and `limit` may be. `pace`: how many were answered
    in the last minute.

    `retry_after` is the time in which a tenth of the limit is worked off at that pace, between 1 s and a minute.
    """

    summary = "queue full"

    def __init__(self, queue: str, waiting: int, limit: int, pace: int) -> None:
        self.queue, self.waiting, self.limit = queue, waiting, limit
        seconds = min(60, max(1, round(limit / 10 / pace * 60))) if pace else 60
        urgency = queue.rpartition(".")[2]
        jobs = "job is" if waiting == 1 else "jobs are"
        super().__init__(
            f"queue {queue} is full: {waiting:,} waiting {jobs} before this one, and its maximum is {limit:,} "
            f"(`urgency: {{{urgency}: {{max_queued: ...}}}}`); "
            f"{pace:,} were answered in the last minute. The job was not accepted: try again in {seconds} s",
            seconds,
        )


MEMORY_RETRY_SECONDS = 5.0
"""Seconds after which to try again: workers check about every second."""


class MemoryPressure(Backpressure):
    """Redis is about to run out of memory. Jobs that it accepted before are safe, and are worked off."""

    summary = "Redis nearly full"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: no job is accepted until some of it is free. Try again in {MEMORY_RETRY_SECONDS:.0f} s; if "
            "it lasts, raise `maxmemory` of Redis, or keep results for a shorter time (`retention: {results: ...}`)",
            MEMORY_RETRY_SECONDS,
        )


class DeadlinePassed(StoreError):
    """The job's deadline is before the server's clock."""

    remedy = "set a later deadline"


class IdempotencyConflict(StoreError):
    """The key (or id) belongs to another request. `job_id` is the job that has it."""

    remedy = "use another key"

    def __init__(self, key: str, job_id: str) -> None:
        self.key, self.job_id = key, job_id
        super().__init__(
            f"idempotency key {key!r} already belongs to job {job_id}, whose request is different: use another key"
        )


class UnknownJob(StoreError):
    """There is no such job, or its result has expired."""

    remedy = "submit it again with the same id, if its answer is still wanted"

    def __init__(self, job_id: str, *, is_beginning: bool = False) -> None:
        """`is_beginning`: no id begins with it, either."""
        self.job_id = job_id
        hint = "" if len(job_id) >= ID_LENGTH else ". Only commands of `openfall` take the beginning of an id"
        if is_beginning:
            hint = ", and no id begins so. `openfall job list` shows the jobs"
        super().__init__(f"no job {job_id}: it was never accepted here, or its result has expired{hint}")


class LostJob(UnknownJob):
    """Redis has accepted the job, and no longer knows it: its last writes were lost, or the result has expired."""

    remedy = "submit it again with the same id"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        StoreError.__init__(
            self,
            f"job {job_id} was accepted, and Redis no longer knows it: it has lost its last writes, or the result has "
            f"expired. Submit the request again, with the same id",
        )


class AmbiguousId(StoreError):
    """Several jobs have ids that begin with the typed letters."""

    def __init__(self, typed: str, candidates: Sequence[str], *, more: bool) -> None:
        self.typed, self.candidates = typed, tuple(candidates)
        names = ", ".join(candidates) + (" and more" if more else "")
        super().__init__(
            f"{typed!r} begins the ids of several jobs: {names}. Type more letters of the one that you mean."
        )
