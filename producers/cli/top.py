"""`openfall top`: the fleet at a glance, renewed every second."""

from __future__ import annotations

import asyncio
import sys
import termios
import time
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import click

from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.options import config_option, open_client
from openfall.producers.cli.terminal import console
from openfall.producers.cli.top_screen import screen
from openfall.producers.client import AsyncOpenfall
from openfall.producers.page import sources
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.producers.page.sections import headline_section
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.router_core.state.errors import StoreError

INTERVAL_SECONDS = 1.0
KEYS_HELP = "q: quit   p: pause"
PAUSED_HELP = "q: quit   p: go on   (paused)"


@click.command()
@click.option("--once", is_flag=True, help="Print the screen once. Default without a terminal.")
@config_option
def top(once: bool) -> None:
    """Show the health of the fleet, its queues, breakers, cards, budgets and last jobs, renewed every second."""

    async def main() -> None:
        async with open_client() as llm:
            if once or not sys.stdout.isatty():
                out = console()
                out.print(screen(await _reader(llm).read(fetched_sources()), out.width))
            else:
                await _watch(llm)

    run_async(main())


def _reader(llm: AsyncOpenfall) -> SnapshotReader:
    return SnapshotReader(llm.store.connection, llm.config.catalog)


def fetched_sources() -> tuple[Source, ...]:
    """What the screen shows beside the snapshot. The causes have the sources of the page."""
    return (
        *headline_section.SOURCES,
        sources.CLIENT_KEYS,
        sources.RECENT_JOBS,
        sources.CARDS,
        sources.LEDGER_TODAY,
        sources.PLANS,
        sources.REFUSED,
    )


async def _watch(llm: AsyncOpenfall) -> None:
    from rich.live import Live

    reader, out, paused = _reader(llm), console(), False
    snapshot: PageSnapshot | None = None
    async with _typed_keys() as keys:
        with Live(console=out, screen=True, auto_refresh=False) as live:
            while True:
                if not paused or snapshot is None:
                    snapshot = await _read(reader, snapshot)
                head = f"openfall top   {PAUSED_HELP if paused else KEYS_HELP}"
                live.update(screen(snapshot, out.width, head), refresh=True)
                key = await _next_key(keys)
                if key == "q":
                    return
                paused = not paused if key == "p" else paused


async def _read(reader: SnapshotReader, last: PageSnapshot | None) -> PageSnapshot:
    """The fleet now; the last snapshot, if Redis does not answer. Raises `StoreError` if it never has."""
    try:
        return await reader.read(fetched_sources())
    except StoreError:
        if last is None:
            raise
        return replace(last, redis_away_since=last.redis_away_since or time.time())


async def _next_key(keys: asyncio.Queue[str]) -> str:
    """The next key; empty after the interval."""
    try:
        async with asyncio.timeout(INTERVAL_SECONDS):
            return await keys.get()
    except TimeoutError:
        return ""


@asynccontextmanager
async def _typed_keys() -> AsyncIterator[asyncio.Queue[str]]:
    """The keys that are typed, each at once. Where a terminal cannot do that there are none: Ctrl-C ends the view."""
    keys: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty() or sys.platform == "win32":
        yield keys
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: keys.put_nowait(sys.stdin.read(1)))
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
