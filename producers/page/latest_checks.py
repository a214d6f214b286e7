"""The results of the last preflight of a gateway: reloads of its page send a backend no further requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openfall.config import LoadedConfig

if TYPE_CHECKING:
    from openfall.producers.preflight_checks import CheckReport

FRESH_SECONDS = 5.0
"""Results that are not older are shown again."""


@dataclass(slots=True)
class LatestChecks:
    """One preflight runs at a time. `clock` is monotonic."""

    clock: Callable[[], float] = time.monotonic
    report: CheckReport | None = None
    read_at: float = 0.0
    running: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fetch(self, config: LoadedConfig) -> CheckReport:
        from openfall.producers.preflight_checks import CheckReport, check_files, run_checks  # not at each start

        async with self.running:
            if self.report is None or self.clock() - self.read_at > FRESH_SECONDS:
                changed = await asyncio.to_thread(lambda: list(check_files(config)))
                self.report = CheckReport([*changed, *[result async for result in run_checks(config)]])
                self.read_at = self.clock()
            return self.report
