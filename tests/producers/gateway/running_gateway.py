"""A gateway with a worker and an upstream behind it: real HTTP, a real Valkey, scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from openfall.config import LoadedConfig, load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.gateway import Gateway
from openfall.producers.gateway.serve import Server, listening_sockets
from openfall.router_core.state.redis_connection import RedisConnection
from tests.faults import FaultServer, Script, fault_server
from tests.worker_harness import running_fleet

CONFIG = """
redis: {redis}
pools: {{gpu: {{local: yes}}}}
backends:
  rack: {{protocol: {protocol}, url: "{upstream}", pool: gpu, slots: 64}}
models:
  tiny: {{upstream: tiny-1, backends: [rack], context: 8192}}
  other: {{upstream: other-1, backends: [rack], context: 4096, max_tokens: 512}}
{models}
roles:
  chat: {{chain: [tiny, other], urgency: interactive}}
  scene: {{chain: [other], urgency: background}}
  plain: {{chain: [tiny]}}
{more}
"""

SAY = {"messages": [{"role": "user", "content": "Haruka waves"}]}


@dataclass
class RunningGateway:
    """A running gateway. `http` sends to it, without following redirects or repeating anything."""

    url: str
    http: httpx.AsyncClient
    upstream: FaultServer
    instance: Gateway
    link: RedisConnection

    async def chat(self, **more: Any) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json={"model": "chat", **SAY, **more})


NATIVE = CONFIG.replace("slots: 64}}", "slots: 64, responses: yes}}\n  loft: {{url: '{upstream}', pool: gpu}}").replace(
    "other-1, backends: [rack]", "other-1, backends: [loft]"
)
"""The first model of `chat` is at a server that has Responses, the second one at a server without."""


def gateway_config(
    redis_url: str,
    home: Path,
    upstream: str,
    more: str = "",
    protocol: str = "openai",
    models: str = "",
    config: str = "",
) -> LoadedConfig:
    file = home / "openfall.yaml"
    text = (config or CONFIG).format(redis=redis_url, upstream=upstream, more=more, protocol=protocol, models=models)
    file.write_text(text)
    return load(file)


@asynccontextmanager
async def open_gateway(
    redis_url: str,
    home: Path,
    *scripts: Script,
    more: str = "",
    pools: tuple[str, ...] = ("gpu", "degrade"),
    protocol: str = "openai",
    models: str = "",
    config: str = "",
    **worker: Any,
) -> AsyncIterator[RunningGateway]:
    """A gateway whose upstream answers by `scripts`. `more` is configuration; without `pools` no worker runs."""
    async with fault_server(*scripts) as upstream:
        loaded = gateway_config(redis_url, home, upstream.url, more, protocol, models, config)
        async with running_fleet(redis_url, home, loaded.catalog, *pools, **worker) as fleet:
            gateway = Gateway.of(AsyncOpenfall(config=loaded, retry_for=1.0))
            gateway.reload_interval_seconds = 3600.0  # a test that changes the file says when the gateway looks
            async with served(gateway) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
                yield RunningGateway(url, http, upstream, gateway, fleet.link)


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[str]:
    with listening_sockets(("127.0.0.1:0",)) as sockets:
        server = Server(gateway, handle_signals=False)
        serving = asyncio.create_task(server.serve(sockets))
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        finally:
            server.stop()
            await serving


def run(work: Callable[[], Coroutine[Any, Any, Any]] | Awaitable[Any]) -> Any:
    """Run a coroutine. The limit only ends one that hangs: the waits in it may take a minute each."""

    async def main() -> Any:
        return await asyncio.wait_for(work() if callable(work) else work, 180)

    return asyncio.run(main())
