import asyncio
import sys
from pathlib import Path
from typing import Any

from openfall.workers.local.child import spawn
from openfall.workers.local.restarter import Report, Restarter, Service, Started


class Crashing(Service):
    """A service that ends with status 7 as soon as it has started."""

    what = "engine-demo"
    crashes = 3

    def __init__(self, log: Path) -> None:
        self.log = log

    async def start(self, report: Report) -> Started:
        child = await spawn([sys.executable, "-S", "-c", "raise SystemExit(7)"], self.log)
        return Started(child=child, fields={}, stop=lambda stop_now: child.stop(1))


def test_an_engine_that_crashes_a_fourth_time_within_a_minute_is_given_up(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    restarter = Restarter(Crashing(tmp_path / "log"), events.append)
    asyncio.run(restarter.run())
    assert [event["restarting_in"] for event in events if event["event"] == "exited"] == [0.2, 0.4, 0.8]
    assert events[-1]["event"] == "gave_up"
    assert events[-1]["error"] == "4 crashes within 60 s; the last: it ended with exit status 7"
    assert restarter.code == 1
