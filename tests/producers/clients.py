"""Runs a coroutine function with a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig


def run(config: LoadedConfig, use: Callable[[AsyncOpenfall], Coroutine[Any, Any, Any]], **client_options: Any) -> Any:
    """The result of `use(client)`, which may take 30 s."""

    async def main() -> Any:
        async with AsyncOpenfall(config=config, **{"producer": "bot@host", **client_options}) as llm:
            return await asyncio.wait_for(use(llm), 60)

    return asyncio.run(main())
