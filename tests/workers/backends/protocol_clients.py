"""What the conformance tests share: each adapter, opened in front of a real engine, and requests in each dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, get_args

import httpx

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.registry import open_backend
from tests.fakes.ollama import FakeModel, ollama_fake

T = TypeVar("T")
MODEL = "smollm2"
IN_TIME = 90.0
"""No test waits longer than this, whatever an upstream does."""
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, IN_TIME))


@asynccontextmanager
async def adapter(protocol: Protocol, url: str, **more: Any) -> AsyncIterator[HttpBackend]:
    """The adapter of that protocol at that url."""
    backend = open_backend(Backend(url=url, pool="gpu", protocol=protocol, **more))
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def adapter_to(protocol: Protocol, engine: str) -> AsyncIterator[HttpBackend]:
    """The adapter in front of the engine, which serves two of the protocols itself."""
    if protocol != "ollama":
        async with adapter(protocol, engine) as backend:
            yield backend
        return
    async with ollama_fake(engine, [FakeModel(MODEL)]) as fake, adapter(protocol, fake.url) as backend:
        yield backend


def request_body(dialect: Dialect, text: str, /, limit: int | None = None, **more: Any) -> dict[str, Any]:
    """A request for the same thing in each dialect, answered the same way every time."""
    messages = [{"role": "user", "content": text}]
    if dialect == "responses":
        return {"input": messages, "temperature": 0, **({"max_output_tokens": limit} if limit else {}), **more}
    if dialect == "ollama":
        options = {"temperature": 0, **({"num_predict": limit} if limit else {})}
        return {"messages": messages, "options": options, **more}
    return {"messages": messages, "temperature": 0, **({"max_tokens": limit} if limit else {}), **more}


def request(dialect: Dialect, text: str = "Name a colour.", /, limit: int = 5, **more: Any) -> Request:
    timeout = more.pop("timeout", 60.0)
    body = request_body(dialect, text, limit, **more)
    return Request(body=body, upstream=MODEL, timeout=timeout, dialect=dialect, max_tokens=64, ctx=1024)


def shape(value: Any) -> Any:
    """A JSON value with every text, number and truth replaced by its type, and every list by the types of its items."""
    if isinstance(value, dict):
        return {key: shape(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


async def slots(engine: str) -> list[dict[str, Any]]:
    """The engine's slots, and what each of them is doing."""
    async with httpx.AsyncClient() as client:
        result: list[dict[str, Any]] = (await client.get(f"{engine}/slots", timeout=60)).json()
    return result


async def idle(engine: str) -> None:
    """Return when no slot writes anything."""
    while any(slot["is_processing"] for slot in await slots(engine)):
        await asyncio.sleep(0.05)
