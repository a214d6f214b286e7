"""A gateway with a worker and a scripted provider behind it, for clients that run in processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.gateway import Gateway
from tests.clients.scripted_upstream import scripted_upstream
from tests.producers.gateway.running_gateway import gateway_config, served
from tests.valkey_server import Server
from tests.worker_harness import running_fleet


@asynccontextmanager
async def stand() -> AsyncIterator[str]:
    """The address of the gateway."""
    with TemporaryDirectory(prefix="of-") as home:
        valkey = Server(Path(home)).start()
        try:
            async with scripted_upstream() as upstream:
                loaded = gateway_config(valkey.url, Path(home), upstream)
                gateway = Gateway.of(AsyncOpenfall(config=loaded, retry_for=1.0))
                worker = running_fleet(valkey.url, Path(home), loaded.catalog, "gpu", "degrade")
                async with worker, served(gateway) as url:
                    yield url
        finally:
            valkey.kill()
