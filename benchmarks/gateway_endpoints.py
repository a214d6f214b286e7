"""What the benchmark of the gateway compares: the upstream, openfall's gateway before it, and LiteLLM's proxy."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import yaml
from rich.console import Console

from benchmarks.contenders import PEERS
from benchmarks.peer_venvs import get_python
from benchmarks.peers.openfall import write_config
from benchmarks.processes import BenchmarkError, Usage, started, usage, wait_for
from benchmarks.run_environment import START_TIMEOUT_S, Demand, RunEnvironment, run_environment
from benchmarks.server import find_free_port

DIRECT, GATEWAY, PROXY = "asked directly", "openfall's gateway", "LiteLLM's proxy"
PROXY_START_S = 120.0
"""LiteLLM's proxy starts within this time: it imports for ten seconds."""


@dataclass(frozen=True)
class Endpoint:
    """Where chat completions are requested, and under which name of the model.

    `pids`: the processes that serve it, the upstream not among them. The first is the one that callers reach.
    """

    name: str
    base: str
    model: str
    pids: tuple[int, ...] = ()

    def body(self, prompt: str, *, stream: bool) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], "stream": stream}

    @property
    def usages(self) -> list[Usage]:
        """What each of the processes has used."""
        return [usage(pid) for pid in self.pids]


@dataclass(frozen=True)
class Proxy:
    """LiteLLM's proxy: the interpreter that has it, or why there is none."""

    python: Path | None = None
    missing: str = ""


def find_proxy(console: Console) -> Proxy:
    """LiteLLM's proxy, in an environment of its own, which is made first."""
    try:
        return Proxy(get_python("litellm", console))
    except BenchmarkError as error:
        return Proxy(missing=str(error))


@dataclass(frozen=True)
class Run:
    """A gateway with its worker and its upstream, and a proxy of the same upstream if there is one."""

    gateway: Endpoint
    direct: Endpoint
    proxy: Endpoint | None = None

    @property
    def endpoints(self) -> list[Endpoint]:
        return [self.direct, self.gateway, *([self.proxy] if self.proxy else [])]


@contextmanager
def open_run(demand: Demand, slots: int, console: Console, proxy: Proxy | None = None) -> Iterator[Run]:
    """A fresh environment with a gateway of one process. With a `proxy` it has a worker too, and the proxy, of one
    process, if it is installed."""
    with ExitStack() as stack:
        environment = stack.enter_context(run_environment(replace(PEERS[0], slots=slots), demand, console))
        direct = Endpoint(DIRECT, f"{environment.parameters.upstream}/v1", "mock")
        gateway = stack.enter_context(_gateway(environment))
        if proxy is None:
            yield Run(gateway, direct)
            return
        worker = stack.enter_context(environment.worker())
        environment.wait_until_ready(worker)
        others = (worker.popen.pid, environment.server.process.popen.pid)
        run = Run(replace(gateway, pids=(*gateway.pids, *others)), direct)
        if proxy.python is not None:
            run = replace(run, proxy=stack.enter_context(_litellm(proxy.python, environment)))
        yield run


@contextmanager
def _gateway(environment: RunEnvironment) -> Iterator[Endpoint]:
    parameters, port = environment.parameters, find_free_port()
    settings = yaml.safe_load(write_config(parameters).read_text())
    file = parameters.directory / "gateway.yaml"
    file.write_text(yaml.safe_dump({**settings, "gateway": {"listen": [f"127.0.0.1:{port}"]}}))
    log = parameters.directory / "gateway.log"
    argv = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce"]
    with started(argv, log) as child:
        wait_for(lambda: '"ready"' in log.read_text(), START_TIMEOUT_S, "the gateway to start", child)
        yield Endpoint(GATEWAY, f"http://127.0.0.1:{port}/v1", "bench", (child.popen.pid,))


@contextmanager
def _litellm(python: Path, environment: RunEnvironment) -> Iterator[Endpoint]:
    """LiteLLM's proxy before the same upstream: without keys, a database, telemetry and limits of connections."""
    home, port = environment.parameters.directory, find_free_port()
    target = {"model": "openai/mock", "api_base": f"{environment.parameters.upstream}/v1", "api_key": "any"}
    file = home / "litellm.yaml"
    file.write_text(yaml.safe_dump({"model_list": [{"model_name": "bench", "litellm_params": target}]}))
    argv = [str(python.with_name("litellm")), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    settings = {
        "HOME": str(home),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "AIOHTTP_CONNECTOR_LIMIT": "0",
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "0",
        "PYTHONPATH": "",
    }
    url = f"http://127.0.0.1:{port}"
    with started([*argv, "--num_workers", "1", "--telemetry", "False"], home / "litellm.log", settings) as child:
        wait_for(lambda: _answers(f"{url}/health/liveliness"), PROXY_START_S, "LiteLLM's proxy to start", child)
        yield Endpoint(PROXY, f"{url}/v1", "bench", (child.popen.pid,))


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def open_session() -> aiohttp.ClientSession:
    """A client without limits of its own."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None))


async def read_events(
    session: aiohttp.ClientSession, endpoint: Endpoint, prompt: str, urgency: str = "interactive"
) -> AsyncIterator[bytes]:
    """The data lines of a stream that have content. Comments that keep it open are none."""
    headers = {"X-Openfall-Urgency": urgency}
    body = endpoint.body(prompt, stream=True)
    async with session.post(f"{endpoint.base}/chat/completions", json=body, headers=headers) as response:
        if response.status != 200:
            raise BenchmarkError(f"{endpoint.name}: status {response.status}: {(await response.text())[:200]}")
        async for line in response.content:
            if b'"content":"' in line and b'"content":""' not in line:
                yield line
