"""The scripts of cards: admission, the fence of their manager, and jobs that are put back."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.cards import CardStore, CardWrite
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription

CATALOG = Catalog(
    backends={"box": Backend(url="http://box", protocol="ollama", pool="gpu", slots=4, vram_gb=16)},
    models={name: ModelSpec(upstream=name, backends=("box",)) for name in ("smol", "large")},
)
BOX = BackendCapacity("box", 4, card="box", model_slots=2)
QUEUES = tuple(
    QueueSubscription(f"gpu.{model}.{urgency}", (BOX,))
    for urgency in ("interactive", "background", "batch")
    for model in ("smol", "large")
)


def store(f: Any, worker: str = "manager-a") -> CardStore:
    return CardStore(f.link, CATALOG, "gpu", worker)


async def write(f: Any, cards: CardStore, admitted: dict[str, int], idle: tuple[str, ...] = ()) -> str:
    snapshot = await cards.fetch()
    assert snapshot is not None
    return await cards.write(snapshot.epoch, CardWrite(snapshot.cards[0], admitted, idle))


def test_no_job_of_a_model_that_its_card_does_not_admit_is_claimed(fleet):
    async def scenario(f):
        worker = await f.start_worker("wa", *QUEUES)
        await f.accept("job-00001")
        assert not (await worker.claim(1, 0)).deliveries
        cards = store(f)
        await write(f, cards, {"large": 2})
        assert not (await worker.claim(1, 0)).deliveries, "another model is admitted"
        await write(f, cards, {"smol": 0})
        assert not (await worker.claim(1, 0)).deliveries, "only interactive jobs are admitted"
        await write(f, cards, {"smol": 1})
        assert (await f.claim(worker)).id == "job-00001"

    fleet(scenario)


def test_a_model_gets_no_more_calls_than_its_slots(fleet):
    async def scenario(f):
        worker = await f.start_worker("wa", *QUEUES)
        for number in range(4):
            await f.accept(f"job-0000{number}")
        await write(f, store(f), {"smol": 2})
        assert len((await worker.claim(1, 0)).deliveries) == 1
        assert len((await worker.claim(4, 1)).deliveries) == 1, "2 of the backend's 4 slots are for one model"

    fleet(scenario)


def used_at(f: Any) -> dict[str, float]:
    return {name.decode(): int(moment) / 1000 for name, moment in f.store.hgetall("of:card-used:box").items()}


@pytest.mark.parametrize(
    ("seconds", "is_noted"),
    [(0.0, False), (0.999, False), (1.0, True), (3600.0, True), (-0.001, True), (-3600.0, True)],
    ids=["at once", "within a second", "after a second", "after an hour", "clock set back", "clock set back far"],
)
def test_the_use_of_a_model_is_noted_once_a_second_whatever_the_clock_does(fleet, seconds, is_noted):
    async def scenario(f):
        worker = await f.start_worker("wa", *QUEUES)
        for number in range(2):
            await f.accept(f"job-0000{number}")
        await write(f, store(f), {"smol": 2})
        began = f.clock.now
        assert len((await worker.claim(1, 0)).deliveries) == 1
        f.clock.now += seconds
        assert len((await worker.claim(1, 1)).deliveries) == 1
        assert used_at(f) == {"smol background": round(began + seconds * is_noted, 3)}

    fleet(scenario)


def test_the_use_of_each_model_and_urgency_is_noted_for_itself_and_again_after_the_card_changes(fleet):
    async def scenario(f):
        worker = await f.start_worker("wa", *QUEUES)
        for number, name in enumerate(("smol.interactive", "smol.background", "large.background")):
            await f.accept(f"job-0000{number}", queue=f"gpu.{name}")
        await write(f, store(f), {"smol": 2, "large": 2})
        assert len((await worker.claim(4, 0)).deliveries) == 3
        assert set(used_at(f)) == {"smol interactive", "smol background", "large background"}
        await f.accept("job-00009", queue="gpu.large.background")
        await write(f, store(f), {"large": 2})
        f.store.delete("of:card-used:box")
        assert len((await worker.claim(4, 0)).deliveries) == 1
        assert set(used_at(f)) == {"large background"}

    fleet(scenario)


def test_calls_of_another_model_take_none_of_the_slots_of_a_model(fleet):
    async def scenario(f):
        worker = await f.start_worker("wa", *QUEUES)
        for number in range(6):
            await f.accept(f"job-0000{number}", queue=f"gpu.{('large', 'smol')[number % 2]}.background")
        await write(f, store(f), {"smol": 2, "large": 2})
        models = [each.model for each in (await worker.claim(6, 0)).deliveries]
        models += [each.model for each in (await worker.claim(6, len(models))).deliveries]
        assert sorted(models) == ["large", "large", "smol", "smol"]

    fleet(scenario)


def test_a_model_with_a_call_in_flight_cannot_begin_to_leave(fleet):
    async def scenario(f):
        worker, cards = await f.start_worker("wa", *QUEUES), store(f)
        await f.accept("job-00001")
        await write(f, cards, {"smol": 2})
        delivery = await f.claim(worker)
        assert await write(f, cards, {}, idle=("smol",)) == "busy"
        await f.settle(worker, delivery)
        assert await write(f, cards, {}, idle=("smol",)) == "written"

    fleet(scenario)


def test_one_worker_manages_the_cards_and_the_next_follows_when_its_lease_ends(fleet):
    async def scenario(f):
        first, second = store(f, "manager-a"), store(f, "manager-b")
        before = await first.fetch()
        assert before is not None
        assert await second.fetch() is None
        f.clock.now += 11
        after = await second.fetch()
        assert after is not None
        assert after.epoch == before.epoch + 1
        late = CardWrite(before.cards[0], {"smol": 2})
        assert await first.write(before.epoch, late) == "fenced", "a manager that was frozen changes nothing"
        assert await second.write(after.epoch, CardWrite(after.cards[0], {"smol": 2})) == "written"
        assert await second.write(after.epoch, CardWrite(before.cards[0], {})) == "changed"
        await second.release()
        assert await first.fetch() is not None, "a manager that stops leaves the cards at once"

    fleet(scenario)


def test_a_job_whose_call_is_put_back_is_first_in_its_queue_and_nothing_is_counted(fleet):
    async def scenario(f):
        worker, cards = await f.start_worker("wa", *QUEUES), store(f)
        for job in ("job-00001", "job-00002"):
            await f.accept(job)
        await write(f, cards, {"smol": 2})
        delivery = await f.claim(worker)
        snapshot = await cards.fetch()
        assert snapshot is not None
        assert await cards.put_back(snapshot.epoch - 1, snapshot.calls, "x") == [], "an old epoch changes nothing"
        assert await cards.put_back(snapshot.epoch, snapshot.calls, "large is wanted") == [delivery.id]
        again = await f.claim(worker)
        assert (again.id, again.deliveries, again.crashes) == (delivery.id, 1, 0)
        assert await f.settle(worker, delivery) == "late"
        later = await cards.fetch()
        assert later is not None
        assert [call.was_put_back for call in later.calls] == [True]

    fleet(scenario)


def test_jobs_that_went_elsewhere_are_noted_for_a_minute(fleet):
    async def scenario(f):
        for number in range(9):
            await f.accept(f"job-0000{number}", unmet=("large",))
        snapshot = await store(f).fetch()
        assert snapshot is not None
        assert len(snapshot.unmet["large"]) == 8
        assert 0 < await f.link.command("TTL", "of:unmet-demand:large") <= 60

    fleet(scenario)
