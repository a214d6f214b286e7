"""The log of a worker process: whole lines, in order, without ever blocking the event loop."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator

import pytest

from openfall.workers import log_output
from openfall.workers.log_format import LogLine
from openfall.workers.log_output import MAX_LINES, BackgroundHandler


@pytest.fixture(autouse=True)
def long_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a log may have no turn for more than a second, on a busy machine."""
    monkeypatch.setattr(log_output, "FLUSH_TIMEOUT_SECONDS", 60.0)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end for writing stays open: a thread that still has lines would write them to what has its number next."""
    ends = os.pipe()
    yield ends
    with contextlib.suppress(OSError):
        os.close(ends[0])


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("of-a-test")
    yield logger
    for handler in logger.handlers:
        handler.close()


def test_each_record_is_one_line_in_order_with_date_zone_and_level(pipe: tuple[int, int], log: logging.Logger) -> None:
    log.addHandler(handler := BackgroundHandler(pipe[1]))
    log.info("%s: answered", "job-1")
    log.warning("two\nhalves\x1b[2J")
    handler.flush()
    lines = os.read(pipe[0], 1000).decode().splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{time} I job-1: answered", lines[0])
    assert re.fullmatch(rf"{time} W two\\nhalves\\x1b\[2J", lines[1])


def test_lines_are_written_without_a_flush(pipe: tuple[int, int], log: logging.Logger) -> None:
    log.addHandler(BackgroundHandler(pipe[1]))
    log.info("later")
    assert os.read(pipe[0], 1000).endswith(b" I later\n")


def test_a_log_that_nothing_reads_blocks_no_caller_and_its_lost_lines_are_counted(
    pipe: tuple[int, int], log: logging.Logger
) -> None:
    log.addHandler(BackgroundHandler(pipe[1]))
    for number in range(2 * MAX_LINES):
        log.info("%d %s", number, "x" * 100)  # more than a pipe holds
    data = b""
    while b"were dropped" not in data:
        data += os.read(pipe[0], 1 << 20)
    numbers = [int(line.split()[2]) for line in data.decode().splitlines() if " I " in line]
    dropped = int(re.findall(r"(\d+) lines of the log were dropped", data.decode())[0])
    assert numbers == sorted(numbers)
    assert (bool(numbers), dropped > 0, len(numbers) + dropped <= 2 * MAX_LINES) == (True, True, True)


def test_a_closed_log_and_a_message_that_does_not_fit_its_arguments_end_no_caller(
    pipe: tuple[int, int], log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.addHandler(handler := BackgroundHandler(pipe[1]))
    log.info("%d", "no number")
    assert "Logging error" in capsys.readouterr().err
    os.close(pipe[0])
    log.info("a line without a reader")
    handler.flush()


def test_a_frequent_line_is_built_by_the_thread_in_its_order_and_one_that_cannot_be_built_costs_no_other(
    pipe: tuple[int, int], log: logging.Logger
) -> None:
    builders: list[str] = []

    def build(number: int) -> LogLine:
        builders.append(threading.current_thread().name)
        return LogLine(f"line {100 // number}")

    log.addHandler(handler := BackgroundHandler(pipe[1]))
    handler.defer("of-a-test", build, 10)
    handler.defer("of-a-test", build, 0)
    log.info("last")
    handler.flush()
    lines = [line.partition(" I ")[2] for line in os.read(pipe[0], 1000).decode().splitlines()]
    assert lines == ["line 10", "a line of the log could not be built: ZeroDivisionError", "last"]
    assert builders == ["log", "log"]
