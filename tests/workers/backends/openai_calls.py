"""Calls of an OpenAI backend over a real socket to an upstream that runs a script."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from openfall.router_core.jobs.outcome import Outcome
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.transport import Transport
from tests.faults import FaultServer, Script, fault_server
from tests.workers.backends.received import texts_into

REQUEST_BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "Haruka greets the festival crowd"}]}
T = TypeVar("T")
KEY = "sk-of-a-very-secret-kind"
IN_TIME = 90.0
"""No test waits longer than this, whatever the upstream does."""


class RedirectedTransport(Transport):
    """Sends every request to one server, whatever host its url names. `urls` are those of the requests."""

    def __init__(self, server: FaultServer) -> None:
        super().__init__(keep_alive=True)
        self._server = URL(server.url)
        self.urls: list[URL] = []

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        self.urls.append(url)
        return await super().send(method, self._server.with_path(url.path), headers, body)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, IN_TIME))


def ask(*scripts: Script, body: dict[str, Any] | None = None, timeout: float = 10, **more: Any) -> Outcome:
    return served(*scripts, body=body, timeout=timeout, **more)[0]


def served(
    *scripts: Script,
    body: dict[str, Any] | None = None,
    timeout: float = 10,
    deltas: list[str] | None = None,
    calls: int = 1,
    **more: Any,
) -> tuple[Outcome, FaultServer]:
    """The outcome of the last of `calls` calls, and the server after it. With `deltas` they are streamed."""

    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(*scripts) as server:
            backend = OpenAIBackend(server.url, KEY, Transport(keep_alive=True))
            request = Request(
                body=body or REQUEST_BODY, upstream="upstream-name", timeout=timeout, max_tokens=77, **more
            )
            try:
                for _ in range(calls):
                    outcome = await backend.complete(request, texts_into(deltas))
            finally:
                await backend.close()
            return outcome, server

    return run(work())
