"""What came of a post, and when it is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.workers.backends.retry_after import retry_after
from openfall.workers.outbox.sender import NotSent, WebhookResponse

JOB_WAITS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
"""Seconds between the tries of a job's webhook: Svix's schedule, which that of Standard Webhooks begins with."""

NOTICE_FIRST, NOTICE_MOST, NOTICE_FOR = 5.0, 600.0, 3 * 86400.0
"""A notice is tried again after 5 s, 10 s, 20 s ... 10 min, for three days."""

SPREAD = 0.2
"""Every wait is longer or shorter by up to this share, so that what failed together does not come back together."""

MOST_ASKED = 3600.0
"""A server may ask for so long a wait (seconds), and not for more."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """It arrived; as `message`, where a notifier gives messages an id. `pause`: seconds until it takes another."""

    message: str = ""
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not arrive. `asked`: the server wants so many seconds first. `gone`: it wants no more of this (410).
    `refused`: our own rules keep it from being sent. `unreachable`: the host said nothing at all."""

    why: str
    asked: float | None = None
    gone: bool = False
    refused: bool = False
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """It was not tried: its server takes nothing for so many seconds."""

    wait: float


Outcome = Delivered | Failed | Deferred


def classify_response(reply: WebhookResponse | NotSent) -> Delivered | Failed:
    """What an answer means, after Standard Webhooks: 2xx is an arrival, 410 a farewell, everything else a failure."""
    if isinstance(reply, NotSent):
        return Failed(reply.why, refused=reply.refused, unreachable=not reply.refused)
    if 200 <= reply.status < 300:
        return Delivered()
    words = f"HTTP {reply.status}" + (", a redirect, which is not followed" if 300 <= reply.status < 400 else "")
    return Failed(words, asked=retry_after(reply.headers), gone=reply.status == 410)


def next_job_try(tries: int, chance: float, asked: float | None = None) -> float | None:
    """Seconds until a job's webhook is tried again after it failed `tries` times; None: that was the last time."""
    return _spread(JOB_WAITS[tries - 1], chance, asked) if tries <= len(JOB_WAITS) else None


def next_notice_try(tries: int, age: float, chance: float, asked: float | None = None) -> float | None:
    """The same of a notice, which was tried first `age` seconds ago."""
    wait = _spread(min(NOTICE_MOST, NOTICE_FIRST * 2.0 ** min(tries - 1, 16)), chance, asked)
    return wait if age + wait <= NOTICE_FOR else None


def _spread(wait: float, chance: float, asked: float | None) -> float:
    """What the server asked for is never undercut, up to `MOST_ASKED`."""
    return max(wait * (1 + SPREAD * (2 * chance - 1)), min(asked or 0.0, MOST_ASKED))
