"""`pytest --runners 5`: five processes run what one process has collected.

Each runner is a fork of the process that has imported and collected the tests. It runs a file from its first test to
its last, so the fixtures of a file are built once, and then takes the next. Every other runner first takes the files
that have a test marked `slow`: such tests mostly wait, and the others run beside them. Small files come last, so that
the runners end at the same time.

A test fails if its runner ends during it. A new runner takes the rest of the file.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import pytest

ENDS_WITHIN = 20.0
"""Seconds that the runners get to end their test and their fixtures when the run is stopped."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

END = "end"
"""In place of a message: the runner has ended."""

Files = deque[list[int]]
"""For each file the numbers of its tests: their places in `session.items`."""


@dataclass
class Runner:
    """A forked process, the tests of its file that have not ended, and whether the first of them has begun."""

    pid: int
    takes_slow: bool
    tests: deque[int] = field(default_factory=deque)
    runs: bool = False


class ForkedRunners:
    """The plugin of the process that has collected the tests. It hands out the files and reports the results."""

    def __init__(self, count: int, runs_in: Callable[[], AbstractContextManager[None]]) -> None:
        """`runs_in` is entered in each new process, and left at its end."""
        self._count, self._runs_in = count, runs_in
        self._runners: dict[Connection, Runner] = {}
        self._slow, self._others = Files(), Files()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests, where the collection has succeeded and more than a list is wanted."""
        if session.testsfailed or session.config.option.collectonly:
            return None
        self._slow, self._others = sort_files(session.items)
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            for number in range(self._count):
                self._fork(session, takes_slow=number % 2 == 0)
            while self._runners:
                for connection in wait(list(self._runners)):
                    self._receive(session, connection)
                    if session.shouldfail:
                        raise session.Failed(session.shouldfail)
        finally:
            self._end()
        return True

    def _fork(self, session: pytest.Session, takes_slow: bool) -> None:
        own, other = Pipe()
        pid = os.fork()
        if pid == 0:
            for connection in (own, *self._runners):
                connection.close()
            run_in_fork(session, other, self._runs_in)
        other.close()
        self._runners[own] = Runner(pid, takes_slow)

    def _receive(self, session: pytest.Session, connection: Any) -> None:
        """A number: this test begins. Reports: it has ended. None: the runner takes a file."""
        message: Any = END
        runner, hook = self._runners[connection], session.config.hook
        with suppress(EOFError, ConnectionResetError):
            message = connection.recv()
        if message == END:
            del self._runners[connection]
            connection.close()
            self._replace(session, runner)
        elif message is None:
            runner.tests.extend(self._take_file(runner.takes_slow))
            connection.send(list(runner.tests))
        elif isinstance(message, int):
            item, runner.runs = session.items[message], True
            hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        else:
            for data in message:
                report = hook.pytest_report_from_serializable(config=session.config, data=data)
                hook.pytest_runtest_logreport(report=report)
            item, runner.runs = session.items[runner.tests.popleft()], False
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _take_file(self, slow: bool) -> list[int]:
        first, second = (self._slow, self._others) if slow else (self._others, self._slow)
        files = first or second
        return files.popleft() if files else []

    def _replace(self, session: pytest.Session, runner: Runner) -> None:
        """After the end of a runner: nothing, if it had nothing to do."""
        status = os.waitstatus_to_exitcode(os.waitpid(runner.pid, 0)[1])
        if not runner.tests and status == 0:
            return
        text = f"the runner has ended with status {status}"
        if not runner.runs:
            session.shouldfail = text
            return
        item = session.items[runner.tests.popleft()]
        session.config.hook.pytest_runtest_logreport(
            report=pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")
        )
        if runner.tests:
            self._others.appendleft(list(runner.tests))
        self._fork(session, runner.takes_slow)

    def _end(self) -> None:
        """End the runners of a run that is stopped."""
        for connection in self._runners:
            connection.close()
        pids, until = {runner.pid for runner in self._runners.values()}, time.monotonic() + ENDS_WITHIN
        while pids and time.monotonic() < until:
            pids -= {pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0]}
            time.sleep(0.02)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def sort_files(items: list[pytest.Item]) -> tuple[Files, Files]:
    """The files that have a slow test, as they were collected, and the others, with the most tests first."""
    slow, others = Files(), Files()
    for _, numbers in groupby(range(len(items)), key=lambda number: items[number].path):
        file = list(numbers)
        is_slow = any(items[number].get_closest_marker("slow") for number in file)
        (slow if is_slow else others).append(file)
    return slow, Files(sorted(others, key=len, reverse=True))


def run_in_fork(
    session: pytest.Session, connection: Connection, runs_in: Callable[[], AbstractContextManager[None]]
) -> NoReturn:
    """The new process: run the files that the parent sends, and exit."""
    status = 1
    try:
        prepare(session.config)
        with runs_in(), suppress(EOFError, BrokenPipeError):  # the parent stops the run
            run_files(session, connection)
        status = 0
    finally:
        if status and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            traceback.print_exc()
        os._exit(status)


def prepare(config: pytest.Config) -> None:
    """End with the parent, and have what a process cannot share: output, directory, random numbers."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    random.seed()
    plugins = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    if (capture := plugins.getplugin("capturemanager")) is not None and capture.is_globally_capturing():
        capture.stop_global_capturing()
        capture.start_global_capturing()
    directories = config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001
    directories._basetemp = directories.mktemp("runner")  # noqa: SLF001


class Reports:
    """The plugin of a runner that collects the reports of a test, as the parent reads them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[object] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def take(self) -> list[object]:
        reports, self._reports = self._reports, []
        return reports


def run_files(session: pytest.Session, connection: Connection) -> None:
    """Run one file after another. What the fixtures of the session have started ends after the last."""
    reports = Reports(session.config)
    session.config.pluginmanager.register(reports)
    try:
        connection.send(None)
        while numbers := connection.recv():
            items = [session.items[number] for number in numbers]
            for number, item, following in zip(numbers, items, [*items[1:], session], strict=True):
                connection.send(number)
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
                connection.send(reports.take())
                if connection.poll():
                    raise EOFError
            connection.send(None)
    finally:
        session._setupstate.teardown_exact(None)  # noqa: SLF001
