"""A gateway remembers the last worker of a pool when Redis has forgotten it."""

from __future__ import annotations

from dataclasses import replace

from openfall.producers.page.last_workers import LastWorkers
from tests.producers.page.snapshots import NOW, WORKER

DEGRADE = replace(WORKER, name="degrade", queues=("degrade",))


def test_a_worker_that_has_vanished_is_shown_as_gone_with_its_last_beat() -> None:
    workers = LastWorkers()
    assert workers.add_gone((WORKER, DEGRADE), NOW) == (WORKER, DEGRADE)
    (_, gone) = workers.add_gone((DEGRADE,), NOW + 60)
    assert (gone.name, gone.host, gone.condition, gone.heartbeat_age_seconds) == ("w", "host", "gone", 60.5)


def test_a_pool_that_another_worker_serves_needs_none_that_is_gone() -> None:
    workers = LastWorkers()
    workers.add_gone((WORKER,), NOW)
    other = replace(WORKER, name="other")
    assert workers.add_gone((other,), NOW + 60) == (other,)
    (gone,) = workers.add_gone((), NOW + 90)
    assert gone.name == "other", "the last one alive"


def test_each_of_several_workers_that_were_killed_together_stays_when_redis_forgets_them_one_by_one() -> None:
    workers = LastWorkers()
    five = tuple(replace(WORKER, name=f"w{number}") for number in range(5))
    workers.add_gone((*five, DEGRADE), NOW)
    dead = tuple(replace(worker, alive=False, heartbeat_age_seconds=30.0) for worker in five[2:])
    shown = workers.add_gone((*dead, DEGRADE), NOW + 30)
    assert sorted(worker.name for worker in shown if not worker.alive) == ["w0", "w1", "w2", "w3", "w4"]
    assert len(workers.add_gone((DEGRADE,), NOW + 60)) == 6
    started = replace(WORKER, name="new")
    assert workers.add_gone((started, DEGRADE), NOW + 90) == (started, DEGRADE)


def test_a_worker_that_redis_still_has_is_not_shown_twice() -> None:
    workers = LastWorkers()
    workers.add_gone((WORKER,), NOW)
    silent = replace(WORKER, alive=False, heartbeat_age_seconds=30.0)
    assert workers.add_gone((silent,), NOW + 30) == (silent,)


def test_a_gateway_that_has_known_no_worker_names_none() -> None:
    assert LastWorkers().add_gone((), NOW) == ()
