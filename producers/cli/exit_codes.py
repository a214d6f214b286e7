"""Every exit code: of a result, of `openfall status`, and of each exception that a user can fix."""

from __future__ import annotations

import os
import tempfile
import traceback
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from openfall.router_core.jobs.result import Result

HEALTH_CODES = {None: 0, "warning": 8, "failure": 4}
"""Of `openfall status`, by the severity of the worst problem: 4 if jobs get no answer."""
DEGRADED, STILL_QUEUED = 6, 7


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


def report_lost_output(error: OSError) -> None:
    """Print why standard output cannot be written."""
    from openfall.producers.cli.terminal import print_line

    print_line(f"openfall: cannot write standard output: {error.strerror}")


def show_error(error: Exception, as_json: bool) -> int:
    """Print a known exception, and return the exit code."""
    from openfall.producers.cli.terminal import print_line

    message, code = explain(error)
    print_line(message)
    if as_json:
        _show_json_error(error, str(error), code)
    return code


def show_usage_error(error: click.ClickException, as_json: bool) -> int:
    """Print an error of the command line, which may repeat an argument, in one line, and return the exit code."""
    from openfall.producers.cli.terminal import print_line

    context = getattr(error, "ctx", None)
    command = context.command_path if context else "openfall"
    message = " ".join(error.format_message().split())
    print_line(f"{command}: {message}{'' if message.endswith(('.', '?')) else '.'} See `{command} --help`.")
    if as_json:
        _show_json_error(error, message, 2)
    return 2


def _show_json_error(error: Exception, message: str, code: int) -> None:
    """`{"error": ..., "kind": ..., "exit_code": ...}`."""
    from openfall.producers.cli.terminal import show_json

    show_json({"error": message, "kind": type(error).__name__, "exit_code": code})


def report_system_error(error: OSError) -> None:
    """Print what the system refuses, in words: a file, a directory, the number of open files."""
    from openfall.producers.cli.terminal import print_line

    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    print_line(f"openfall: {': '.join([*names, error.strerror or str(error)])}")


def report_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line, and write the traceback to a log that only the user can read."""
    if issubclass(kind, KeyboardInterrupt):
        return
    from openfall.producers.cli.terminal import print_line

    text = (str(error).splitlines() or [""])[0][:200]
    message = f"openfall: unexpected error ({kind.__name__}: {text})."
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="openfall-", suffix=".log", delete=False) as log:
            text = "".join(traceback.format_exception(kind, error, trace))
            log.write(text.encode("utf-8", "backslashreplace"))
    except OSError as failure:
        print_line(f"{message} No log of it can be written: {failure.strerror}")
    else:
        print_line(f"{message} Details: {log.name}")
