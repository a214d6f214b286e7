"""The sums of budgets in Redis: what is removed, and what cannot be read."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.deciding.decide import Fall
from openfall.router_core.degrading.degrade import Hold
from openfall.router_core.state.budget_book import audit_budgets, list_budgets, raise_budget
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import HoldReason
from tests.budget_sums import pack_sums
from tests.router_core.state.test_budgets import CALL, HOUSE, claimed, replace_budget, settle, start, submit, sums


def test_a_window_that_refused_every_call_is_removed_100_days_after_its_end_like_any_other(fleet):
    budget = replace_budget(usd=0)

    async def story(f):
        worker = await start(f, budget)
        await submit(f, 1)
        await claimed(worker)
        ((key, ends),) = f.store.zrange("of:budgets", 0, -1, withscores=True)
        assert f.store.hgetall("of:budget-sums") == {key: pack_sums(0, 0, 0, 0, 1, CALL)}
        for days, left in ((99, 1), (101, 0)):
            f.store.delete("of:lock:budget-audit")
            f.clock.now = ends / 1000 + days * 86400
            await audit_budgets(f.link)
            assert f.store.hlen("of:budget-sums") == f.store.zcard("of:budgets") == left

    fleet(story)


@pytest.mark.parametrize(
    "damaged",
    [b"many", b"", b"-1 x", b"0 900 0 2 0 0", b"x" * 31, b"x" * 40, b"x" * 49, b"\xff" * 32, b"\xff" * 48],
    ids=lambda damaged: f"{len(damaged)} bytes of {damaged[:5]!r}",
)
def test_sums_that_cannot_be_read_stop_no_claim_and_no_settle_and_are_noted(fleet, damaged):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        (first,), _ = await claimed(worker, 1)
        (key,) = f.store.zrange("of:budgets", 0, -1)
        f.store.hset("of:budget-sums", key, damaged)
        assert await sums(f) == (0, 0, 0)
        (second,), _ = await claimed(worker, 1)
        assert await sums(f) == (0, CALL, 0)
        await settle(f, worker, first)
        f.store.hset("of:budget-sums", key, damaged)
        await settle(f, worker, second)
        assert await sums(f) == (CALL // 4, 0, 0)
        # Two scripts set it aside, and before them the reader of the budgets could not decode it.
        assert f.store.hget("of:counters", "unreadable") == b"3"

    fleet(story)


def test_a_count_of_refusals_that_cannot_be_read_begins_again_and_the_other_sums_stay(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 6)
        await claimed(worker)
        (key,) = f.store.zrange("of:budgets", 0, -1)
        f.store.hset("of:budget-sums", key, pack_sums(0, 5 * CALL, 0, 5, 2**64 - 1, CALL))
        assert await sums(f) == (0, 5 * CALL, 0)
        await submit(f, 1)
        assert len((await claimed(worker))[1]) == 1
        assert f.store.hget("of:budget-sums", key) == pack_sums(0, 5 * CALL, 0, 5, 1, CALL)

    fleet(story)


def test_what_a_refused_call_needs_is_kept_until_one_fits(fleet):
    async def state(f):
        return (await list_budgets(f.link, [HOUSE], f.clock.now))[0]

    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 6)
        allowed, overs = await claimed(worker)
        assert (len(allowed), len(overs)) == (5, 1)
        for delivery in allowed:
            await settle(f, worker, delivery, cost=CALL)
        assert ((await state(f)).needed, (await state(f)).is_spent) == (CALL, True)
        await raise_budget(f.link, "house", CALL, f.clock.now + 60)
        assert not (await state(f)).is_spent
        await submit(f, 1)
        await claimed(worker)
        assert (await state(f)).needed == 0

    fleet(story)


def test_one_claim_for_several_producers_counts_each_call_in_its_own_window_and_in_that_of_all(fleet):
    each = Budget(name="each", usd=0.002, each=Each.PRODUCER)
    night = Budget(name="night", usd=0.003, producer="night-bot")

    async def story(f):
        worker = await start(f, HOUSE, each, night)
        for producer in ("day-bot", "night-bot", "day-bot", "night-bot", "day-bot"):
            await submit(f, 1, producer=producer)
        ready, overs = await claimed(worker)
        assert len(ready) == 4
        assert [over.budget for over in overs] == ["each:day-bot"]
        states = await list_budgets(f.link, [HOUSE, each, night], f.clock.now)
        reserved = {(state.budget.name, state.owner): state.reserved // CALL for state in states}
        assert reserved == {
            ("house", ""): 4,
            ("each", "day-bot"): 2,
            ("each", "night-bot"): 2,
            ("night", ""): 2,
        }

    fleet(story)


def test_a_raised_budget_lets_the_jobs_that_wait_for_it_return_and_no_others(fleet):
    async def story(f):
        worker, ends, held = await start(f), f.clock.now + 3600, {}
        for reason in (HoldReason.BUDGET, HoldReason.OUTAGE):
            (held[reason],) = await submit(f, 1)
            ((delivery,), _) = await claimed(worker)
            await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=Fall(reason, ""))))
            await f.degrade(Hold(reason=reason, detail="", models=("haiku",), ready_at=ends))
        await raise_budget(f.link, "house", CALL, ends)
        later = dict(f.store.zrange("of:held-later", 0, -1, withscores=True))
        assert later[held[HoldReason.BUDGET].encode()] == int(f.clock.now * 1000)
        assert later[held[HoldReason.OUTAGE].encode()] == int(ends * 1000)

    fleet(story)


def test_more_producers_than_a_script_remembers_are_counted_each_in_their_own_window(fleet):
    each, count = Budget(name="each", usd=0.001, each=Each.PRODUCER, per=Period.DAY), 600

    async def story(f):
        worker = await start(f, each)
        for day in range(2):
            for number in range(count):
                await submit(f, 1, producer=f"bot-{number}")
            ready = []
            while deliveries := (await claimed(worker, 64))[0]:
                ready += deliveries
            assert len(ready) == count, f"day {day}"
            states = await list_budgets(f.link, [each], f.clock.now)
            assert len(states) == count
            assert {state.reserved for state in states} == {CALL}
            f.clock.now += 86_400

    fleet(story)
