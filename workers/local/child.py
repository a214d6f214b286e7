"""One supervised process: spawned by this process, or adopted from an owner that has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from openfall.workers.local.die_with_parent import die_with_parent
from openfall.workers.local.log_file import LogFile
from openfall.workers.local.process_id import ProcessId, identify
from openfall.workers.log_place import LOG_VARIABLE

_POLL_INTERVAL_S = 0.2
"""For a process that is not our own child."""

OUTPUT_TIMEOUT_S = 1.0
"""For the output that a process wrote before its end. A process that it has started may keep the output open longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process. `process`, `output` (its log) and `following` (the task that writes the log) are None if it is
    not our own child."""

    identity: ProcessId
    log: Path
    output: LogFile | None = None
    following: asyncio.Task[None] | None = None
    process: Process | None = None

    @property
    def pid(self) -> int:
        return self.identity.pid

    def running(self) -> bool:
        return self.process.returncode is None if self.process else self.identity.alive()

    async def wait(self) -> int | None:
        """Wait for its end. Returns the exit status (negative for a signal), or None if it is unknown."""
        if self.process:
            status = await self.process.wait()
            if self.following:
                await asyncio.wait([self.following], timeout=OUTPUT_TIMEOUT_S)
            return status
        while self.identity.alive():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(_POLL_INTERVAL_S)
        return None

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.process:
            if self.process.returncode is None:
                self.process.send_signal(number)
        elif self.identity.alive():
            os.kill(self.pid, number)

    async def stop(self, grace: float, stop_now: asyncio.Event | None = None) -> int | None:
        """SIGTERM, up to `grace` seconds, then SIGKILL. `stop_now` ends the grace: a second SIGTERM and 2 s more."""
        self.signal(signal.SIGTERM)
        if not await self._ended(grace, stop_now):
            self.signal(signal.SIGTERM)
            if not (stop_now and stop_now.is_set() and await self._ended(2.0, None)):
                self.signal(signal.SIGKILL)
        return await self.wait()

    async def _ended(self, timeout_s: float, stop_now: asyncio.Event | None) -> bool:
        end = [asyncio.create_task(self.wait())]
        waiting = [asyncio.create_task(stop_now.wait())] if stop_now else []
        try:
            await asyncio.wait([*end, *waiting], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return end[0].done()
        finally:
            for task in (*end, *waiting):
                task.cancel()

    def last_lines(self, lines: int = 5) -> list[str]:
        """Its last lines since its start."""
        recent = list(self.output.recent) if self.output else []
        return [line.decode(errors="replace") for line in recent[-lines:]]

    def end_of_log(self) -> str:
        """The last lines of its log, for an error message."""
        return "\n  ".join([f"The end of {self.log}:", *self.last_lines()])

    @asynccontextmanager
    async def stopped_on_failure(self, grace: float) -> AsyncIterator[None]:
        """Stop the process if the body fails or is cancelled."""
        try:
            yield
        except BaseException:
            await self.stop(grace)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A server that is ready. `ours` says whether this process stops it. `files` exist while it runs. `remark` is for
    its owner."""

    url: str
    child: Child
    adopted: bool
    ours: bool
    grace: float
    files: tuple[Path, ...]
    remark: str = ""

    async def stop(self) -> None:
        """Stop it if it is ours: SIGTERM, SIGKILL after the grace. One of another owner keeps running."""
        if self.ours:
            await self.child.stop(self.grace)
            for file in self.files:
                file.unlink(missing_ok=True)


async def spawn(
    argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, events: bool = False
) -> Child:
    """Start `argv` so that it ends with this process, in a session of its own, with its output in `log`.

    With `events` its standard output is left to the caller. It has its own session because Ctrl-C reaches every process
    of a terminal's group: Valkey would end before the workers had settled. `environment` is added to ours. Its files
    are its owner's alone (umask 077): Valkey has no setting for that.
    """
    output = LogFile(log)
    process = await asyncio.create_subprocess_exec(
        *die_with_parent(argv),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE if events else STDOUT,
        env={**os.environ, **(environment or {}), LOG_VARIABLE: str(log)},
        start_new_session=True,
        umask=0o077,
    )
    stream = process.stderr if events else process.stdout
    following = None if stream is None else asyncio.create_task(output.follow(stream), name=f"log of {process.pid}")
    # A child that has ended already is a zombie until it is waited for: only its pid is known.
    identity = identify(process.pid) or ProcessId(process.pid, "")
    return Child(identity=identity, log=log, output=output, following=following, process=process)
