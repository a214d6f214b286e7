"""Watches the files of a configuration: a process takes over each valid change, and keeps what it has otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from openfall.config.errors import ConfigError
from openfall.config.loading import LoadedConfig, Stamp, files_of, load, stamp
from openfall.config.open_writers import is_open_for_writing
from openfall.config.settings import NoRedis
from openfall.router_core.catalog.catalog_errors import UnknownName

T = TypeVar("T")

RELOAD_INTERVAL_SECONDS = 2.0
"""How often a worker and a gateway look whether their files have changed."""

SETTLED_SECONDS = 2.0
"""A file that was written later than this is perhaps not whole yet: some programs empty a file before they write it. A
file that was written beside its name and renamed has its time too."""


@dataclass(slots=True)
class ConfigWatcher(Generic[T]):
    """Watches the file and the `.env` of one configuration.

    `derive` returns what a process makes of a configuration, and raises `ConfigError`, `NoRedis`, `UnknownName` or
    `ValueError` for one that it cannot use. An invalid change is reported once to `log`, with every problem. A file
    that is written meanwhile is read after that: half a file is neither in force nor invalid.
    """

    loaded: LoadedConfig
    """The last valid configuration."""
    derive: Callable[[LoadedConfig], T]
    log: logging.Logger
    clock: Callable[[], float] = time.time
    """The time in which the files have theirs (epoch seconds)."""
    _last_stamp: Stamp = field(init=False)
    _was_missing: bool = field(init=False, default=False)
    _last_trouble: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self._last_stamp = self.loaded.stamp

    def reload_if_changed(self) -> T | None:
        """What the changed configuration gives; None if it has not changed, or is invalid. Reads files."""
        try:
            return self._reload_if_changed()
        except OSError as error:  # such as too many open files: it is not the fault of the configuration
            if str(error) != self._last_trouble:
                self.log.warning("%s cannot be read now, and is tried again: %s", self.loaded.source, error)
            self._last_trouble = str(error)
            return None

    def _reload_if_changed(self) -> T | None:
        current = stamp(self.loaded.source)
        if current == self._last_stamp or not self._is_settled(current) or self._is_open_for_writing():
            return None
        try:
            loaded = load(self.loaded.source)
            if stamp(self.loaded.source) != current:
                return None
            derived = self.derive(loaded)
        except (ConfigError, NoRedis, UnknownName, ValueError) as error:
            if stamp(self.loaded.source) != current:
                return None
            for line in str(error).splitlines():
                self.log.error("%s", line)
            self.log.error(
                "%s is invalid after a change; the previous configuration stays in force", self.loaded.source
            )
            self._last_stamp = current
            return None
        self.loaded, self._last_stamp, self._last_trouble = loaded, current, ""
        return derived

    def _is_open_for_writing(self) -> bool:
        """Whether a program that pauses still has a file open for writing: half a file may be valid. Logged once."""
        file = next(filter(is_open_for_writing, files_of(self.loaded.source)), None)
        if file is None:
            return False
        trouble = (
            f"the configuration has changed, and a program still has {file} open for writing. The change is read once "
            "the program has closed the file"
        )
        if trouble != self._last_trouble:
            self.log.warning("%s", trouble)
        self._last_trouble = trouble
        return True

    def _is_settled(self, current: Stamp) -> bool:
        """Whether no file was written just now. One that is missing for the first time is perhaps being replaced. A
        time in the future says nothing."""
        was_missing, self._was_missing = self._was_missing, current[0] is None
        if self._was_missing and not was_missing:
            return False
        ages = [self.clock() - file[0] / 1e9 for file in current if file is not None]
        return not any(0 <= age < SETTLED_SECONDS for age in ages)
