"""A dispatcher on a real Valkey, and the servers that it delivers to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from openfall.workers.outbox.webhook_url_check import TRUSTED
from tests.fakes.discord import DiscordFake, running
from tests.faults import fault_server
from tests.workers.outbox.dispatcher_harness import OK, SECRET, START, open_dispatcher

Story = Callable[..., Awaitable[None]]


@pytest.fixture
def dispatching(redis_url: str) -> Callable[..., None]:
    """`dispatching(story, script, ..., **settings)`: run `story(DispatcherHarness, server)` with an HTTP server that
    answers by the scripts; `{url}` in a setting is its address."""

    def run(story: Story, *scripts: Any, **settings: Any) -> None:
        async def main() -> None:
            async with fault_server(*scripts or (OK,)) as server:
                own = {"url_policy": TRUSTED, "secret": SECRET, **settings}
                if "webhook" in own:
                    own["webhook"] = own["webhook"].format(url=server.url)
                async with open_dispatcher(redis_url, [START], **own) as harness:
                    await story(harness, server)

        asyncio.run(main())

    return run


@pytest.fixture
def discord_channel(redis_url: str) -> Callable[..., None]:
    """`discord_channel(story, **settings)`: run `story(DispatcherHarness, DiscordFake)` with a channel to notify."""

    def run(story: Story, **settings: Any) -> None:
        async def main() -> None:
            now = [START]
            async with AsyncExitStack() as stack:
                fake = await stack.enter_async_context(running(DiscordFake(clock=lambda: now[0])))
                own = {"discord": fake.url + "?thread_id=42", **settings}
                await story(await stack.enter_async_context(open_dispatcher(redis_url, now, **own)), fake)

        asyncio.run(main())

    return run
