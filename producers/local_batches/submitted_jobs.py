"""The ids of the jobs that the runs of a batch have submitted, kept on the disk while its lines wait for answers.

To derive the id of a line takes 0.3 ms, most of it to route the job: a minute of CPU for 200,000 lines. The commands
that list, show and cancel a batch read the ids here. What this file lacks is derived, so a fault of the disk costs time
only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic_core import from_json, to_json

_ROW = re.compile(rb"([0-9a-f]{32}) (.+)")


class SubmittedJobs:
    """The file of one batch. `terms` name everything but the lines that the ids depend on: ids of other terms do not
    count."""

    def __init__(self, path: Path, terms: str) -> None:
        self._path, self._head = path, f"{terms}\n".encode()
        self._is_begun = False

    def read(self) -> dict[str, str]:
        """The ids of the jobs, by custom id. Of two the later counts: it is that of a retry."""
        jobs: dict[str, str] = {}
        with suppress(OSError), self._path.open("rb") as file:
            for row in file if file.readline() == self._head else ():
                if match := _ROW.fullmatch(row.rstrip(b"\n")):
                    with suppress(ValueError):  # a crash has cut it short
                        jobs[from_json(match[2])] = match[1].decode()
        return jobs

    def add(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Add jobs that are accepted: custom id and id of each."""
        rows = b"".join(b"%b %b\n" % (job_id.encode(), to_json(custom_id)) for custom_id, job_id in jobs)
        with suppress(OSError):
            if not self._is_begun:
                self._begin()
            with self._path.open("ab") as file:
                file.write(rows)

    def remove(self) -> None:
        """No line waits any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _begin(self) -> None:
        """Begin a file of these terms, unless there is one."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            file.seek(0)
            if file.readline() != self._head:
                file.truncate(0)
                file.write(self._head)
        self._is_begun = True
