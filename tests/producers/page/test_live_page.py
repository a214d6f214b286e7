"""The live sections: a change is sent, an age is not, and a page that is opened later shows the later age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.outage_text import Away, Wait
from openfall.producers.page import live_page
from openfall.producers.page.live_page import LivePage
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.section import Section
from openfall.producers.page.sections import headline_section, worker_section
from openfall.router_core.state.errors import StoreUnreachable
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, calm_snapshot


class Readings:
    """Stands for the reader of Redis: the fleet as it is at one moment after another."""

    def __init__(self, snapshots: Iterator[PageSnapshot]) -> None:
        self._snapshots = snapshots
        self.looks, self.reads, self.pulse_now = 0, 0, b"calm"
        self.changed = asyncio.Condition()
        self.queues_not_older: list[float] = []

    def away_since(self) -> float:
        return NOW - 30

    async def pulse(self) -> bytes:
        async with self.changed:
            self.looks += 1
            self.changed.notify_all()
        return self.pulse_now

    async def read(self, _sources: Any, queues_not_older: float) -> PageSnapshot:
        self.queues_not_older.append(queues_not_older)
        async with self.changed:
            self.reads += 1
            self.changed.notify_all()
        snapshot = next(self._snapshots)
        if snapshot.redis_away_since is not None:
            raise StoreUnreachable("gone")
        return snapshot

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(condition)


def test_a_page_that_is_opened_later_shows_later_ages_in_an_unchanged_section(tmp_path: Path, monkeypatch: Any) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW - 60, cause="timeout", until=None, wait=Wait.PROBE, flat_plan=False
    )
    first = replace(calm_snapshot(tmp_path), away=(away,))
    readings: Any = Readings(iter([first, replace(first, now=NOW + 3600)]))
    monkeypatch.setattr(live_page, "INTERVAL_SECONDS", -1.0)

    async def story() -> tuple[Any, Any]:
        live = LivePage(readings, [Section("health", headline_section.context)], asyncio.Event())
        return (await live.fragments(["health"]))[0], (await live.fragments(["health"]))[0]

    early, late = asyncio.run(story())
    assert (early.version, early.event) == (late.version, late.event)
    assert early.html != late.html


async def always() -> bool:
    return True


def test_the_fleet_is_read_when_something_has_changed_and_otherwise_only_now_and_then(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(live_page, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(live_page, "FLEET_SECONDS", 3600.0)

    async def story() -> tuple[int, int]:
        readings: Any = Readings(repeat(calm_snapshot(tmp_path)))
        live = LivePage(readings, [Section("health", headline_section.context)], asyncio.Event())
        pages = [live.events(["health"], {}, always) for _ in range(5)]
        watching = [asyncio.create_task(_drain(page)) for page in pages]
        await readings.until(lambda: readings.looks >= 2)
        calm, looks = readings.reads, readings.looks
        await readings.until(lambda: readings.looks >= looks + 3)
        still = readings.reads - calm
        readings.pulse_now = b"a breaker opens"
        await readings.until(lambda: readings.reads > calm)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await live.close()
        return still, readings.reads - calm

    assert asyncio.run(story()) == (0, 1)


@pytest.mark.parametrize(("busy", "seconds"), [(0, 4.0), (1, 4.0), (32, 4.0), (150, 18.75), (300, 37.5), (3000, 40.0)])
def test_the_more_queues_have_jobs_the_less_often_they_are_read_and_an_action_reads_them_at_once(
    tmp_path: Path, monkeypatch: Any, busy: int, seconds: float
) -> None:
    monkeypatch.setattr(live_page, "INTERVAL_SECONDS", 1.0)
    queues = tuple(replace(QUEUE, name=f"gpu.m{n}.batch", waiting=int(n < busy)) for n in range(busy + 100))
    readings: Any = Readings(repeat(calm_snapshot(tmp_path, status=replace(STATUS, queues=queues))))

    async def story() -> None:
        live = LivePage(readings, [Section("health", headline_section.context)], asyncio.Event())
        await live.fragments(["health"])
        watching = asyncio.create_task(_drain(live.events(["health"], {}, always)))
        await readings.until(lambda: readings.reads >= 2)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await live.close()
        await live.refresh()

    asyncio.run(story())
    assert readings.queues_not_older == [1.0, seconds, 0.0]


async def _drain(events: Any) -> None:
    async for _ in events:
        pass


def test_with_redis_away_each_section_says_of_which_moment_it_is(tmp_path: Path, monkeypatch: Any) -> None:
    calm = calm_snapshot(tmp_path)
    readings: Any = Readings(iter([calm, replace(calm, redis_away_since=1.0), calm]))
    monkeypatch.setattr(live_page, "INTERVAL_SECONDS", -1.0)
    sections = [Section("health", headline_section.context), Section("workers", worker_section.context)]

    async def story() -> list[list[str]]:
        live = LivePage(readings, sections, asyncio.Event())
        return [[each.html for each in await live.fragments(["health", "workers"])] for _ in range(3)]

    (_, before), (health, old), (_, after) = asyncio.run(story())
    assert "Not live: as it was at" in old
    assert before in old
    assert before == after
    assert "Not live" not in health
    assert f'data-since="{NOW - 30:.0f}"' in health, "when this process noticed it first"


def test_a_page_that_never_knew_the_fleet_says_so(tmp_path: Path) -> None:
    readings: Any = Readings(iter([replace(calm_snapshot(tmp_path), redis_away_since=1.0)]))
    readings.catalog, readings.digest = calm_snapshot(tmp_path).catalog, ""

    async def story() -> str:
        live = LivePage(readings, [Section("workers", worker_section.context)], asyncio.Event())
        return (await live.fragments(["workers"]))[0].html

    assert "Not known: Redis has not answered since this gateway started" in asyncio.run(story())
