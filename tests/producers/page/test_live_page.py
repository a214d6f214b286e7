"""The live sections: a change is sent, an age is not, and a page that is opened later shows the later age."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from openfall.producers.outage import Away, Wait
from openfall.producers.page import live_page
from openfall.producers.page.live_page import LivePage
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.section import Section
from openfall.producers.page.sections import health_section
from tests.producers.page.snapshots import NOW, calm_snapshot


class Readings:
    """Stands for the reader of Redis: the fleet as it is at one moment after another."""

    def __init__(self, snapshots: Iterator[PageSnapshot]) -> None:
        self._snapshots = snapshots

    async def read(self, _sources: Any) -> PageSnapshot:
        return next(self._snapshots)


def test_a_page_that_is_opened_later_shows_later_ages_in_an_unchanged_section(tmp_path: Path, monkeypatch: Any) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW - 60, cause="timeout", until=None, wait=Wait.PROBE, flat_plan=False
    )
    first = replace(calm_snapshot(tmp_path), away=(away,))
    readings: Any = Readings(iter([first, replace(first, now=NOW + 3600)]))
    monkeypatch.setattr(live_page, "INTERVAL_SECONDS", -1.0)

    async def story() -> tuple[Any, Any]:
        live = LivePage(readings, [Section("health", health_section.context)], asyncio.Event())
        return (await live.fragments(["health"]))[0], (await live.fragments(["health"]))[0]

    early, late = asyncio.run(story())
    assert (early.version, early.event) == (late.version, late.event)
    assert early.html != late.html
