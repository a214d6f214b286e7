"""A post office on a real Valkey, with whom it posts to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from openfall.workers.outbox.url_policy import TRUSTED
from tests.fakes.discord import DiscordFake, running
from tests.faults import fault_server
from tests.workers.post_office.stage import BEGINNING, OK, SECRET, open_house

Story = Callable[..., Awaitable[None]]


@pytest.fixture
def house(redis_url: str) -> Callable[..., None]:
    """`house(story, script, ..., **terms)`: run `story(House, server)` with an HTTP server that answers by the scripts;
    `{url}` in a term is its address."""

    def run(story: Story, *scripts: Any, **terms: Any) -> None:
        async def main() -> None:
            async with fault_server(*scripts or (OK,)) as server:
                said = {name: value.format(url=server.url) if isinstance(value, str) else value
                        for name, value in terms.items()}  # fmt: skip
                async with open_house(redis_url, [BEGINNING], **{"rules": TRUSTED, "secret": SECRET, **said}) as house:
                    await story(house, server)

        asyncio.run(main())

    return run


@pytest.fixture
def channel(redis_url: str) -> Callable[..., None]:
    """`channel(story, **terms)`: run `story(House, DiscordFake)` with a channel to post to."""

    def run(story: Story, **terms: Any) -> None:
        async def main() -> None:
            now = [BEGINNING]
            async with AsyncExitStack() as stack:
                fake = await stack.enter_async_context(running(DiscordFake(clock=lambda: now[0])))
                told = {"discord": fake.url + "?thread_id=42", **terms}
                await story(await stack.enter_async_context(open_house(redis_url, now, **told)), fake)

        asyncio.run(main())

    return run
