"""Redis has reached its `maxmemory`: what brings new data fails. Workers go on, and new ones start."""

from __future__ import annotations

import pytest

from openfall.router_core.placement.use_by_hour import HourOfUse
from openfall.router_core.state.backend_reports import (
    remember_health,
    remember_load_error,
    remember_loaded,
    remember_other_models,
)
from openfall.router_core.state.cards import give_order
from openfall.router_core.state.errors import StoreFull
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.model_use import write_use
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.state.worker_registry import register, report_quiet, report_shortage, unregister
from openfall.router_core.state.worker_subscription import WorkerIdentity

JOB = "job-00001"
IDENTITY = WorkerIdentity("worker-z", "gpu", ("gpu.smol.batch",), ("box",))
WRITES = {
    "lock": lambda f: try_lock(f.link, "sweep:x", 60),
    "register": lambda f: register(f.link, IDENTITY),
    "unregister": lambda f: unregister(f.link, IDENTITY),
    "shortage": lambda f: report_shortage(f.link, IDENTITY, "it lacks descriptors"),
    "quiet": lambda f: report_quiet(f.link, IDENTITY, quiet=True),
    "models": lambda f: remember_loaded(f.link, "box", ["smol"], f.clock.now),
    "failed load": lambda f: remember_load_error(f.link, "box/smol", "out of memory", f.clock.now),
    "other models": lambda f: remember_other_models(f.link, "box", {"else": True}, f.clock.now),
    "health": lambda f: remember_health(f.link, "box/smol", {"at": f.clock.now, "ok": True}),
    "use of a model": lambda f: write_use(f.link, "smol", 7, HourOfUse(1.0, 3)),
    "order": lambda f: give_order(f.link, "tower", "load", "smol"),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_a_worker_reports_is_written_and_no_job_is_accepted(fleet, name):
    async def story(f):
        f.store.config_set("maxmemory", 1)
        before = f.dump()
        await WRITES[name](f)
        assert f.dump() != before
        with pytest.raises(StoreFull):
            await f.accept()

    fleet(story)


def test_a_worker_that_starts_then_claims_and_settles_and_late_jobs_are_found(fleet):
    async def story(f):
        await f.accept()
        await f.accept("job-00002", start_within_seconds=5)
        f.store.config_set("maxmemory", 1)
        worker = await f.worker()
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        f.clock.now += 6
        assert [job.id for job in (await sweep(f.link, (), clean=True))[1]] == ["job-00002"]

    fleet(story)
