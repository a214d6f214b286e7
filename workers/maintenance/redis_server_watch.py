"""Checks the preconditions of Redis when a worker starts, and again while it runs: a server may be restarted with
other settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from openfall.router_core.redis_preconditions import Finding, ServerTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import fetch_findings, require_server

log = logging.getLogger("openfall.worker")

SERVER_CHECK_INTERVAL_SECONDS = 30.0


@dataclass(slots=True)
class ServerWatch:
    """Logs each unmet precondition once, when it begins. It ends no worker that runs: its jobs were accepted."""

    link: RedisConnection
    terms: ServerTerms
    _logged: set[str] = field(default_factory=set)

    async def require(self) -> None:
        """Raises `UnsuitableRedis` or another `StoreError` if no worker may start."""
        self._log(await require_server(self.link, self.terms))

    async def look(self) -> None:
        """Check again."""
        self._log(await fetch_findings(self.link, self.terms))

    def _log(self, findings: Iterable[Finding]) -> None:
        names = set()
        for finding in findings:
            names.add(str(finding.name))
            if finding.accepted or finding.name in self._logged:
                continue
            if finding.is_fatal:
                log.error("clients submit no job to this Redis: %s", finding)
            else:
                log.warning("%s", finding)
        self._logged = names
