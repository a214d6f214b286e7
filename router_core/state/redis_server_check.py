"""Checks the preconditions of a Redis server, and refuses to use one that would not keep accepted jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from openfall.router_core.redis_preconditions import Fault, Finding, ServerTerms, check_server
from openfall.router_core.state.errors import StoreError, StoreFull, UnsuitableRedis
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_rights import producer_samples, worker_samples
from openfall.router_core.state.redis_server_facts import fetch_server_facts

CLIENT_CHECK_SECONDS = 30.0
"""How long a client relies on a check: the settings of a server may change while it runs (`CONFIG SET`)."""


async def fetch_findings(
    link: RedisConnection, terms: ServerTerms, *, only_producer: bool = False
) -> tuple[Finding, ...]:
    """The preconditions that the server does not meet. `only_producer`: the rights of a producer are enough.

    Raises a `StoreError` when it does not answer.
    """
    samples = producer_samples() if only_producer else worker_samples()
    return check_server(await fetch_server_facts(link, samples), terms)


async def require_server(
    link: RedisConnection, terms: ServerTerms, *, only_producer: bool = False
) -> tuple[Finding, ...]:
    """The findings of a server that may be used. Raises `UnsuitableRedis` for any other, and `StoreFull` for one that
    cannot write to its disk."""
    findings = await fetch_findings(link, terms, only_producer=only_producer)
    if error := refusal(findings, link.safe_url):
        raise error
    return findings


def refusal(findings: Iterable[Finding], address: str) -> StoreError | None:
    """The error for a server with these findings; None: it may be used."""
    fatal = [finding for finding in findings if finding.is_fatal]
    if not fatal:
        return None
    kind = StoreFull if all(finding.name is Fault.WRITE_ERRORS for finding in fatal) else UnsuitableRedis
    causes = str(fatal[0]) if len(fatal) == 1 else "".join(f"\n- {finding}" for finding in fatal)
    return kind(f"no job is accepted by Redis at {address}: {causes}")


class ClientServerCheck:
    """Checks the server of a client before a job: once for each connection, as a new one may lead to a server with
    other settings, and once in `CLIENT_CHECK_SECONDS`."""

    def __init__(self, link: RedisConnection, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._terms = link, ServerTerms(accepted_risks=link.server.accept_risks)
        self._checked_connections, self._checked_at, self._clock = 0, 0.0, clock
        self._checking = asyncio.Lock()

    @property
    def is_due(self) -> bool:
        if self._checked_connections == 0 or self._checked_connections != self._link.connections:
            return True
        return self._clock() - self._checked_at >= CLIENT_CHECK_SECONDS

    async def require(self) -> bool:
        """Check the server if that is due. True: this is the first check of a connection. Raises as
        `require_server`."""
        async with self._checking:  # many first jobs at once need one check
            if not self.is_due:
                return False
            await require_server(self._link, self._terms, only_producer=True)
            is_first = self._checked_connections != self._link.connections
            self._checked_connections, self._checked_at = self._link.connections, self._clock()
            return is_first
