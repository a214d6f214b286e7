"""A value that a script cannot read, and that nothing else reads, is counted and listed too."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.state.batch_claims import claim_batches
from openfall.router_core.state.card_memory import note_card_memory
from openfall.router_core.state.external_calls import start_external_call
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.state.damaged_fleet import CATALOG

GARBAGE = b"\xff\xfe garbage"


async def beat(f):
    await (await f.worker()).beat([])


async def beat_as_another(f):
    worker = await f.worker("wa")
    f.store.hset("rq:worker:wa", "queues", GARBAGE)
    await worker.beat([])


async def accept_again(f):
    await f.accept(idempotency_key="once", job={"producer": "bot"})


async def fill_queue(f):
    await f.accept(job={"producer": "night"}, queue="gpu.smol.background")


SCRIPTS = {
    "of:last-beat": (lambda store: store.set("of:last-beat", GARBAGE), beat),
    "rq:worker:wa": (lambda store: None, beat_as_another),
    "of:audit-cursor": (lambda store: store.set("of:audit-cursor", GARBAGE), lambda f: sweep(f.link, clean=False)),
    "of:idem:3:bot:once": (lambda store: store.set("of:idem:3:bot:once", GARBAGE), accept_again),
    "of:limits:box": (
        lambda store: store.hset("of:limits:box", "one requests", GARBAGE),
        lambda f: start_external_call(f.link, CATALOG, "box", "smol"),
    ),
    "of:listed:gpu.smol.background": (
        lambda store: store.hset("of:listed:gpu.smol.background", "night", GARBAGE), fill_queue,
    ),
    "of:open-batches:d1": (
        lambda store: store.zadd("of:open-batches:d1", {GARBAGE: 1}), lambda f: claim_batches(f.link, "d1", "r", 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", SCRIPTS)
def test_a_value_that_a_script_cannot_read_is_counted_and_listed_by_its_key(fleet, key):
    async def story(f):
        damage, run = SCRIPTS[key]
        damage(f.store)
        await run(f)
        assert {value.place for value in await list_unreadable(f.link)} == {key}

    fleet(story)


def test_memory_of_a_card_that_cannot_be_read_is_noted_and_its_period_begins_again(fleet):
    async def story(f):
        await note_card_memory(f.link, "tower", 1.0, 0.5, 16.0)
        for key in ("of:card-memory:tower:minute", "of:card-memory:tower:hour"):
            f.store.hset(key, f.store.hkeys(key)[0], GARBAGE)
        await note_card_memory(f.link, "tower", 1.0, 0.5, 16.0)
        assert {value.place for value in await list_unreadable(f.link)} == {
            "of:card-memory:tower:minute", "of:card-memory:tower:hour",
        }  # fmt: skip

    fleet(story)


def test_a_job_that_its_worker_cannot_read_is_noted(fleet):
    async def story(f):
        await f.accept("job-00001")
        worker = await f.worker()
        delivery = await f.claim(worker)
        outcome = DeliveryOutcome(next_step=Fall(HoldReason.UNREADABLE, "body: no JSON"))
        await worker.settle(worker.settlement(delivery, outcome))
        (value,) = await list_unreadable(f.link)
        assert (value.place, value.why) == ("of:job:job-00001", "body: no JSON")
        assert f.counter("unreadable_jobs") == 1

    fleet(story)
