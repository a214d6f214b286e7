"""One supervised process: spawned by this process, or adopted from an owner that has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from openfall.workers.local.die_with_parent import die_with_parent
from openfall.workers.local.pidfile import make_private
from openfall.workers.local.process_id import ProcessId, identify

_POLL_INTERVAL_S = 0.2
"""For a process that is not our own child."""

_MAX_LOG_BYTES = 5_000_000
"""A log that is longer when its process starts becomes `NAME.log.1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process. `process` is None if it is not our own child. Its log begins at byte `log_from`."""

    identity: ProcessId
    log: Path
    log_from: int = 0
    process: Process | None = None

    @property
    def pid(self) -> int:
        return self.identity.pid

    def running(self) -> bool:
        return self.process.returncode is None if self.process else self.identity.alive()

    async def wait(self) -> int | None:
        """Wait for its end. Returns the exit status (negative for a signal), or None if it is unknown."""
        if self.process:
            return await self.process.wait()
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

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> int | None:
        """SIGTERM, up to `grace` seconds, then SIGKILL. `hurry` ends the grace early: a second SIGTERM and 2 s more."""
        self.signal(signal.SIGTERM)
        if not await self._ended(grace, hurry):
            self.signal(signal.SIGTERM)
            if not (hurry and hurry.is_set() and await self._ended(2.0, None)):
                self.signal(signal.SIGKILL)
        return await self.wait()

    async def _ended(self, timeout_s: float, hurry: asyncio.Event | None) -> bool:
        end = [asyncio.create_task(self.wait())]
        waiting = [asyncio.create_task(hurry.wait())] if hurry else []
        try:
            await asyncio.wait([*end, *waiting], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return end[0].done()
        finally:
            for task in (*end, *waiting):
                task.cancel()

    def last_lines(self, lines: int = 5) -> list[str]:
        """The last lines of its log since its start."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self.log_from, file.seek(0, os.SEEK_END) - 16_384))
                return file.read().decode(errors="replace").rstrip().splitlines()[-lines:]
        except OSError:
            return []

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

    def append_log(self, line: bytes) -> None:
        """Add a line to its log."""
        with self.log.open("ab") as file:
            file.write(line)


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
    argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, stdout: int | None = None
) -> Child:
    """Start `argv` so that it ends with this process, in a session of its own, with its output in `log`.

    It has its own session because Ctrl-C reaches every process of a terminal's group: Valkey would end before the
    workers had settled. `environment` is added to ours.
    """
    file = _open_log(log)
    try:
        start = os.fstat(file).st_size
        process = await asyncio.create_subprocess_exec(
            *die_with_parent(argv),
            stdin=DEVNULL,
            stdout=file if stdout is None else stdout,
            stderr=file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    finally:
        os.close(file)
    # A child that has ended already is a zombie until it is waited for: only its pid is known.
    identity = identify(process.pid) or ProcessId(process.pid, "")
    return Child(identity=identity, log=log, log_from=start, process=process)


def _open_log(log: Path) -> int:
    make_private(log.parent)
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
