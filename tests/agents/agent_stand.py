"""A gateway as a process of its own, which can be killed, with a worker, a Valkey and a scripted provider behind it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.server import find_free_port
from openfall.config import load
from tests.agents.agent_provider import AgentProvider, agent_provider
from tests.valkey_server import Server
from tests.worker_harness import running_fleet

CONFIG = """
redis: {redis}
gateway: {{listen: ["{address}"], aliases: {{"claude-*": coder}}}}
pools: {{gpu: {{local: yes}}}}
backends:
  messages: {{protocol: anthropic, url: "{upstream}", api_key: any, pool: gpu, slots: 16}}
  completions: {{protocol: openai, url: "{upstream}/v1", pool: gpu, slots: 16}}
models:
  thinker: {{upstream: claude-sonnet-5, backends: [messages], context: 200k}}
  writer: {{upstream: writer-1, backends: [completions], context: 200k}}
urgency:
  interactive: {{first_token_timeout: 40s, stall_timeout: 40s, reply_within: 60s}}
roles:
  coder: {{chain: [{chain}], urgency: interactive}}
"""


@dataclass
class AgentStand:
    """The gateway is started and killed by the checks."""

    url: str
    file: Path
    provider: AgentProvider
    gateway: asyncio.subprocess.Process | None = None

    async def start_gateway(self) -> None:
        self.gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "openfall.producers.gateway", "--config", str(self.file), "--announce"),
            stdout=asyncio.subprocess.PIPE,
            stderr=self.file.with_name("gateway.log").open("ab"),
        )
        assert self.gateway.stdout is not None
        assert await self.gateway.stdout.readline() == b'{"event": "ready"}\n'

    async def kill_gateway(self) -> None:
        if self.gateway is not None and self.gateway.returncode is None:
            self.gateway.kill()
            await self.gateway.wait()

    def requests(self) -> list[str]:
        """What the gateway logged of its requests."""
        return self.file.with_name("gateway.log").read_text().splitlines()


@asynccontextmanager
async def agent_stand(chain: str) -> AsyncIterator[AgentStand]:
    """A gateway whose role `coder` has this chain."""
    with TemporaryDirectory(prefix="of-") as home:
        address = f"127.0.0.1:{find_free_port()}"
        valkey = Server(Path(home)).start()
        try:
            async with agent_provider() as provider:
                file = Path(home) / "openfall.yaml"
                file.write_text(CONFIG.format(redis=valkey.url, address=address, upstream=provider.url, chain=chain))
                async with running_fleet(valkey.url, Path(home), load(file).catalog, "gpu", "degrade"):
                    stand = AgentStand(f"http://{address}", file, provider)
                    await stand.start_gateway()
                    try:
                        yield stand
                    finally:
                        await stand.kill_gateway()
        finally:
            valkey.kill()
