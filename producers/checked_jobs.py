"""Accepts the jobs of a client on a Redis that keeps them, and warns of workers that read another configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.fleet_catalogs import describe_catalogs, fetch_workers
from openfall.router_core.state.jobs import JobStore, Receipt, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import ClientServerCheck

log = logging.getLogger("openfall.client")


class CheckedJobStore(JobStore):
    """Checks the server before the first job, again after each new connection, and every 30 s while jobs come.

    Raises `UnsuitableRedis` for a server that would not keep jobs.
    """

    def __init__(self, link: RedisConnection, catalog: Catalog, catalog_name: str) -> None:
        super().__init__(link)
        self._catalog, self._catalog_name = catalog, catalog_name
        self._check = ClientServerCheck(link)

    async def accept(self, job: CompletionJob, terms: SubmitTerms) -> Receipt:
        if self._check.is_due:
            await self._check_server()
        return await super().accept(job, terms)

    async def accept_many(self, jobs: Iterable[tuple[CompletionJob, SubmitTerms]]) -> list[Receipt | BaseException]:
        pending = list(jobs)
        try:
            if self._check.is_due:
                await self._check_server()  # once for all of them
        except StoreError as error:
            return [error for _ in pending]
        return await super().accept_many(pending)

    async def _check_server(self) -> None:
        if not await self._check.require():
            return
        digest = catalog_digest(self._catalog)
        difference = describe_catalogs(await fetch_workers(self._link), digest, self._catalog_name)
        if difference:
            log.warning("%s", difference)
