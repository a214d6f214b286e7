"""A worker that an operator keeps from further jobs is counted as quiet, with who did it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from openfall.router_core.state import keys
from tests.producers.cli.conftest import Run


class Fleet:
    """Workers that are alive, as they register."""

    def __init__(self, store: redis.Redis) -> None:
        self.store = store

    def add(self, name: str, queues: str, quiet_by: str | None = None) -> None:
        state = {"queues": queues, "state": "idle", keys.QUIET_FIELD: "" if quiet_by is None else "1"}
        self.store.sadd(keys.RQ_WORKERS, keys.RQ_WORKER + name)
        self.store.hset(keys.RQ_WORKER + name, mapping=state)
        self.store.zadd(keys.PRESENCE, {name: 9e15})
        if quiet_by:
            line = {"actor": quiet_by, "action": "worker.quiet", "subject": name}
            self.store.xadd(keys.AUDIT_LOG, {"entry": json.dumps(line)})


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    store = redis.from_url(redis_url)
    yield Fleet(store)
    store.close()


CHAT, BATCH = "gpu.tiny.interactive", "gpu.other.batch"


def test_a_quiet_worker_is_not_counted_as_ready(openfall: Run, fleet: Fleet) -> None:
    fleet.add("tower", CHAT, quiet_by="ann")
    fleet.add("cloud", "cloud.haiku.batch")
    shown = openfall("status").stdout
    assert "- An operator keeps tower (ann) from further jobs." in shown
    assert "No job waits; 1 of 2 workers ready." in shown
    status = json.loads(openfall("status", "--json").stdout)
    assert (status["workers_alive"], status["workers_ready"], status["quiet_by"]) == (2, 1, {"tower": "ann"})


def test_the_last_operator_counts_and_a_forgotten_one_is_left_out(openfall: Run, fleet: Fleet) -> None:
    fleet.add("tower", CHAT, quiet_by="ann")
    fleet.add("tower", CHAT, quiet_by="bob")
    fleet.add("desk", CHAT, quiet_by="")
    for name in ("x1", "x2"):
        fleet.add(name, CHAT, quiet_by="")
    shown = openfall("status").stdout
    assert "- An operator keeps desk, tower (bob), x1 and 1 more from further jobs." in shown


@pytest.mark.parametrize(
    ("others", "ready"), [((), "0 of 1 worker ready"), (("cloud.haiku.batch",), "1 of 2 workers ready")]
)
def test_a_queue_of_which_only_quiet_workers_are_left_has_no_worker(
    openfall: Run, fleet: Fleet, others: tuple[str, ...], ready: str
) -> None:
    fleet.add("tower", BATCH, quiet_by="ann")
    for queue in others:
        fleet.add("cloud", queue)
    openfall("enqueue", "-r", "tags", stdin="x")
    ran = openfall("status")
    assert "1 job waits" in ran.stdout
    assert f"{ready}." in ran.stdout
    assert ran.stdout.count("tower (ann)") == 1
    assert ran.returncode == 4
    problems = json.loads(openfall("status", "--json").stdout)["problems"]
    assert [(problem["code"], problem["subject"]) for problem in problems] == [
        ("not_served", BATCH),
        ("worker_quiet", None),
        ("no_degrade_worker", None),
    ]
    fleet.add("desk", BATCH)
    assert openfall("status").returncode == 8, (
        "its jobs have a worker, other roles have none, and no job waits for them"
    )


def test_an_ask_names_the_quiet_worker_that_it_waits_for(openfall: Run, fleet: Fleet) -> None:
    fleet.add("tower", CHAT, quiet_by="ann")
    ran = openfall("ask", "x", "--wait", "4s")
    assert f"only quiet workers serve {CHAT}: end that with `openfall workers resume tower`" in ran.stderr
