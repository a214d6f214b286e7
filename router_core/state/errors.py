"""What can go wrong with Redis."""

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


class AmbiguousId(StoreError):
    """Several jobs have ids that begin with the typed letters."""

    def __init__(self, typed: str, candidates: Sequence[str], *, more: bool) -> None:
        self.typed, self.candidates = typed, tuple(candidates)
        names = ", ".join(candidates) + (" and more" if more else "")
        super().__init__(
            f"{typed!r} begins the ids of several jobs: {names}. Type more letters of the one that you mean."
        )


_Remedies = tuple[tuple[tuple[str, ...], type[StoreError], str], ...]

_TLS_REMEDIES: _Remedies = (
    (
        ("unknown command `FCALL`", "unknown command 'FCALL'", "unknown command `FUNCTION`"),
        StoreRefused,
        "this server has no function libraries, so it is too old: use Valkey 7.2 or newer, or Redis 7.0 or newer",
    ),
    (
        ("Hostname mismatch", "IP address mismatch"),
        StoreRefused,
        "the certificate of Redis is for another host: use the name that it has, or `redis: {tls_check_hostname: no}`",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        StoreRefused,
        "the certificate of Redis is not valid now: renew it, and check the clock of this machine",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        StoreRefused,
        "the certificate of Redis has no authority that is known here: name the authority's file in "
        "`redis: {tls_ca: ...}`",
    ),
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "ALERT_UNKNOWN_CA"),
        StoreRefused,
        "Redis demands a certificate of this client that it knows: `redis: {tls_certificate: ..., tls_key: ...}`",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF"),
        StoreRefused,
        "there is no TLS at this port: use the TLS port of Redis, or redis:// in place of rediss://",
    ),
    (
        ("reply type byte", "Protocol Error"),
        StoreRefused,
        "what answers is not Redis without TLS: if it is the TLS port, use rediss://",
    ),
    (
        ("[X509", "NO_CERTIFICATE", "PEM", "KEY_VALUES_MISMATCH"),
        StoreRefused,
        "a file of `redis: {tls_ca, tls_certificate, tls_key}` is no PEM file, or the key is of another certificate",
    ),
)

_REMEDIES: _Remedies = (
    (("WRONGPASS", "invalid username-password", "invalid password"), StoreRefused, "wrong password or user in its URL"),
    (("without any password configured",), StoreRefused, "Redis has no password: remove it from the configuration"),
    (("NOAUTH", "Authentication required"), StoreRefused, "Redis wants a password in its URL (redis://:PASSWORD@HOST)"),
    (
        ("NOPERM", "has no permissions", "can't run this command", "can't access at least one of the keys"),
        StoreRefused,
        "this Redis user may not do that: give it more rights; `openfall preflight` names them",
    ),
    (("DENIED", "protected mode"), StoreRefused, "Redis is in protected mode: set a password and `bind` on its server"),
    (("LOADING", "loading the dataset"), StoreUnreachable, "Redis still loads its data from disk: try again"),
    (
        ("READONLY", "read only replica"),
        StoreRefused,
        "this is a read-only replica: point the URL at the primary, or name the `sentinels`",
    ),
    (
        ("OOM", "> 'maxmemory'"),
        StoreFull,
        "Redis is out of memory (maxmemory): raise it, or let workers drain the queues",
    ),
    (
        ("'WAITAOF'",),
        StoreRefused,
        "`durability: fsync` needs Redis 7.2 or later, or Valkey: upgrade it, or remove the key",
    ),
    (
        ("numlocal is set but appendonly",),
        StoreRefused,
        "`durability: fsync` needs `appendonly yes` of Redis: set it, or remove the key",
    ),
    *_TLS_REMEDIES,
    (("Function not found",), StoreUnreachable, "Redis has lost its scripts again (a restart?): try again"),
    (("MISCONF", "No space left"), StoreFull, "Redis cannot write to its disk: free space there"),
)
"""What a message contains, its error, and the remedy. redis-py cuts off the first word of the messages that it
knows."""


_UNKNOWN_HOST = ("Name or service not known", "name resolution", "No address associated", "nodename nor servname")


def translate(error: Exception, address: str) -> StoreError:
    """The `StoreError` for an error of redis-py. `address` is shown to people: it has no password."""
    text = str(error)
    if isinstance(error, SentinelTrouble):
        return (StoreRefused if error.refused else StoreUnreachable)(f"no primary of Redis: {_short(text)}")
    for words, kind, remedy in _REMEDIES:
        if any(word in text for word in words):
            return kind(f"{remedy} ({address})")
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        return StoreUnreachable(f"Redis does not answer at {address}: {_guess(text, address)} ({_short(text)})")
    return StoreRefused(f"Redis at {address} refused: {_short(text)}")


def _guess(text: str, address: str) -> str:
    """What may be wrong. A server with TLS often closes the connection without a word."""
    if any(words in text for words in _UNKNOWN_HOST):
        return "its host has no address: is the name correct?"
    if not any(
        words in text for words in ("closed by server", "Connection lost", "Timeout connecting", "reset by peer")
    ):
        return "is it running?"
    if address.startswith("rediss:"):
        return "is it running, does it demand a certificate of this client (`tls_certificate`), has this port TLS?"
    return "is it running? If this is its TLS port, use rediss://"


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
