"""A gateway whose page is open to tests: one for each module, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

from openfall.producers.gateway.gateway import Gateway
from tests.faults import Script
from tests.producers.gateway.running_gateway import open_gateway

HTML = {"accept": "text/html,application/xhtml+xml"}


@dataclass
class PageGateway:
    """`browser` sends what a browser sends, and keeps cookies."""

    url: str
    redis_url: str
    instance: Gateway
    redis: redis.Redis
    loop: asyncio.AbstractEventLoop

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=HTML, timeout=60)

    def page(self, path: str = "/") -> str:
        with self.browser() as browser:
            response = browser.get(path)
        assert response.status_code == 200, response.text
        return response.text


@contextmanager
def page_gateway(
    redis_url: str, home: Path, *scripts: Script, more: str = "", config: str = ""
) -> Iterator[PageGateway]:
    """A gateway whose upstream answers by `scripts`. No worker runs here: only the main thread gets its signals."""
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    started, end = threading.Event(), threading.Event()
    opened: list[PageGateway] = []

    async def serve() -> None:
        async with open_gateway(redis_url, home, *scripts, pools=(), more=more, config=config) as gateway:
            opened.append(PageGateway(gateway.url, redis_url, gateway.instance, client, asyncio.get_running_loop()))
            started.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert started.wait(30)
        yield opened[0]
    finally:
        end.set()
        thread.join(30)
        client.close()
