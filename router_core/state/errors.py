"""What can go wrong between us and Redis.

StoreError
├── StoreUnreachable      nobody answers: try again later; nothing was refused
├── StoreRefused          wrong password, no permission, or a server that cannot run us
├── StoreFull             out of memory or disk: nothing was accepted
├── Backpressure          nothing more is taken in for now: try again after `retry_after` seconds
│   ├── QueueFull         as many jobs wait in the queue as may
│   └── StorePressed      Redis is about to run out of memory
├── DeadlinePassed        the job's deadline is in the past
├── IdempotencyConflict   the same key (or id) was used for another request
└── UnknownJob            no such job, or its result has passed its time
"""

from __future__ import annotations

from redis import exceptions as redis_errors


class StoreError(Exception):
    """Any of the below. The message names the remedy and carries no secret."""


class StoreUnreachable(StoreError):
    """Redis does not answer. What was asked may or may not have been done: every script bears being sent again."""


class StoreRefused(StoreError):
    """Redis answered, and will not serve us."""


class StoreFull(StoreError):
    """Redis has no room. What it had accepted before is safe."""


class Backpressure(StoreError):
    """Nothing more is taken in for now; nothing was written. `retry_after`: seconds after which it may be again.

    `short` says it in two words.
    """

    short = ""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class QueueFull(Backpressure):
    """As many jobs wait in `queue` as may: `limit`. `pace`: how many of its jobs were answered in the last minute.

    `retry_after` is the time in which a tenth of the limit is worked off at that pace, between 1 s and a minute.
    """

    short = "queue full"

    def __init__(self, queue: str, waiting: int, limit: int, pace: int) -> None:
        self.queue, self.waiting, self.limit = queue, waiting, limit
        seconds = min(60, max(1, round(limit / 10 / pace * 60))) if pace else 60
        urgency = queue.rpartition(".")[2]
        super().__init__(
            f"queue {queue} is full: as many jobs wait as may, {waiting:,} "
            f"(`urgency: {{{urgency}: {{max_queued: ...}}}}`); "
            f"{pace:,} were answered in the last minute. Nothing was put in: try again in {seconds} s",
            seconds,
        )


MEMORY_RETRY_SECONDS = 5.0
"""Seconds after which it is worth asking again whether there is room: workers look about every second."""


class MemoryPressure(Backpressure):
    """Redis is about to run out of memory. What it has accepted before is safe, and is worked off."""

    short = "Redis nearly full"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: nothing more is accepted until some of it is free. Try again in {MEMORY_RETRY_SECONDS:.0f} s; if "
            "it lasts, raise `maxmemory` of Redis, or keep results for a shorter time (`retention: {results: ...}`)",
            MEMORY_RETRY_SECONDS,
        )


class DeadlinePassed(StoreError):
    """The deadline lies before the server's own clock."""


class IdempotencyConflict(StoreError):
    """The key stands for another request. `job_id` is the one that has it."""

    def __init__(self, key: str, job_id: str) -> None:
        self.key, self.job_id = key, job_id
        super().__init__(
            f"idempotency key {key!r} already stands for job {job_id}, which asked something else: use another key"
        )


class UnknownJob(StoreError):
    """There is no such job, or it ended longer ago than results are kept."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no job {job_id}: it was never accepted here, or its result has passed its time")


_REMEDIES: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (("WRONGPASS", "invalid username-password", "invalid password"), StoreRefused, "wrong password or user in its URL"),
    (("NOAUTH", "Authentication required"), StoreRefused, "Redis wants a password in its URL (redis://:PASSWORD@HOST)"),
    (("NOPERM", "has no permissions"), StoreRefused, "this Redis user may not do that: give it more rights"),
    (
        ("READONLY", "read only replica"),
        StoreRefused,
        "this Redis is a read-only replica: point the URL at the primary",
    ),
    (
        ("OOM", "used memory > 'maxmemory'"),
        StoreFull,
        "Redis is out of memory (maxmemory): raise it, or let workers drain the queues",
    ),
    (("MISCONF", "No space left"), StoreFull, "Redis cannot write to its disk: free space there"),
)
"""What a message contains, the error it is, and what to do. redis-py cuts the first word off those that it knows."""


def translate(error: Exception, place: str) -> StoreError:
    """The error of ours for one of redis-py's. `place` is the masked address that people are told."""
    told = str(error)
    for words, kind, remedy in _REMEDIES:
        if any(word in told for word in words):
            return kind(f"{remedy} ({place})")
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        return StoreUnreachable(f"Redis does not answer at {place}: is it running? ({_short(told)})")
    return StoreRefused(f"Redis at {place} refused: {_short(told)}")


def _short(told: str) -> str:
    return told if len(told) <= 200 else told[:199] + "…"
