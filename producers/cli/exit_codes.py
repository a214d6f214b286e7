"""Every exit code: of a result, of `openfall status`, and of each exception that a user can fix."""

from __future__ import annotations

import signal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openfall.router_core.jobs.result import Result

HEALTH_CODES = {None: 0, "warning": 8, "failure": 4}
"""Of `openfall status`, by the severity of the worst problem: 4 if jobs get no answer."""
LINES_FAILED, DEGRADED, STILL_QUEUED = 5, 6, 7
INTERRUPTED = 128 + signal.SIGINT
"""Of a command that a signal has ended."""


def result_code(result: Result, strict: bool) -> int:
    """The exit code of a result. `strict`: only an answer of the first choice is a success."""
    if strict and (result.degraded or result.fallback_used):
        return DEGRADED
    if result.answered:
        return 0
    return 1 if result.final else STILL_QUEUED


@cache
def _codes() -> dict[type[Exception], int]:
    """Imported only after an error: these modules take longer to import than most commands to run."""
    from openfall.config import ConfigError, NoRedis
    from openfall.producers.errors import NoModel, OutputWriteError, ProducerError, StillQueued
    from openfall.producers.setup.stack_files import InitRefused
    from openfall.router_core.catalog.catalog_errors import UnknownName
    from openfall.router_core.state.errors import (
        AmbiguousId,
        Backpressure,
        DeadlinePassed,
        IdempotencyConflict,
        StoreError,
        UnknownJob,
        UnsuitableRedis,
    )

    return {
        StillQueued: 7,
        OutputWriteError: 1,
        NoModel: 1,
        ProducerError: 2,
        ConfigError: 2,
        UnknownName: 2,
        Backpressure: 1,
        DeadlinePassed: 2,
        IdempotencyConflict: 2,
        UnknownJob: 2,
        AmbiguousId: 2,
        UnsuitableRedis: 2,
        InitRefused: 2,
        NoRedis: 3,
        StoreError: 3,
    }


def known_errors() -> tuple[type[Exception], ...]:
    """The exceptions that a user can cause or fix."""
    return tuple(_codes())


def explain(error: Exception) -> tuple[str, int]:
    """The message and the exit code of a known exception."""
    code = next(code for kind, code in _codes().items() if isinstance(error, kind))
    return f"openfall: {error}" if code != 7 else str(error), code
