"""The sums of budgets in Redis: what is removed, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.deciding.decide import Fall
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.state.budget_book import audit_budgets, list_budgets, raise_budget
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import ErrorClass, HoldReason
from tests.budget_sums import pack_sums
from tests.router_core.state.test_budgets import (
    CALL,
    HOUSE,
    claimed,
    ended,
    replace_budget,
    settle,
    start,
    submit,
    sums,
)


def test_a_window_that_refused_every_call_is_removed_100_days_after_its_end_like_any_other(fleet):
    budget = replace_budget(usd=0)

    async def story(f):
        worker = await start(f, budget, replace_budget(name="other"))
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


async def settle_as_recorded(f, worker, delivery):
    """The call is reported with the group and the producer of its job, as workers do."""
    names = {name: f.record_field(delivery.id, name) or "" for name in ("group", "producer")}
    outcome = ended(f, delivery, cost=CALL)
    await worker.settle(worker.settlement(delivery, replace(outcome, call=replace(outcome.call, **names))))


def overwrite_sums(text):
    async def overwrite(f):
        (key,) = f.store.zrange("of:budgets", 0, -1)
        f.store.hset("of:budget-sums", key, text)

    return overwrite


async def overwrite_key(f):
    f.store.delete("of:budget-sums")
    f.store.set("of:budget-sums", "garbage")


async def lose_key(f):
    f.store.delete("of:budget-sums")


UNREADABLE = (
    b"many", b"", b"-1 x", b"0 900 0 2 0 0", b"x" * 31, b"x" * 40, b"x" * 49, b"\xff" * 32, b"\xff" * 48,
    bytes(24) + b"\xff" * 8,
)  # fmt: skip
DAMAGES = {
    **{f"{len(text)} bytes of {text[:5]!r}": overwrite_sums(text) for text in UNREADABLE},
    "another type": overwrite_key,
    "removed": lose_key,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_sums_that_cannot_be_read_are_counted_again_and_the_budget_allows_no_call_more(fleet, damage):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 8)
        (first, second, third), _ = await claimed(worker, 3)
        await settle(f, worker, first, cost=CALL)
        await settle(f, worker, second, cost=None, error=ErrorClass.TIMEOUT)
        await DAMAGES[damage](f)
        allowed, overs = await claimed(worker)
        assert await sums(f) == (CALL, 3 * CALL, CALL)
        assert (len(allowed), {over.cause for over in overs}) == (2, {OverCause.RESERVED})
        for delivery in (third, *allowed):
            await settle(f, worker, delivery, cost=CALL)
        assert await sums(f) == (4 * CALL, 0, CALL)
        assert "counted again from the ledger" in b"".join(f.store.lrange("of:unreadable", 0, -1)).decode()
        assert await audit_budgets(f.link) == []

    fleet(story)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_call_ends_while_sums_cannot_be_read_and_its_cost_is_counted_by_the_next_claim(fleet, damage):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        (first,), _ = await claimed(worker, 1)
        await DAMAGES[damage](f)
        await settle(f, worker, first, cost=CALL)
        assert await audit_budgets(f.link) == []
        await claimed(worker, 1)
        assert await sums(f) == (CALL, CALL, 0)

    fleet(story)


@pytest.mark.parametrize(
    ("budget", "counted"),
    [
        (replace_budget(), 3), (replace_budget(producer="night bot"), 2), (replace_budget(producer="other"), 0),
        (replace_budget(group="discord:main"), 3), (replace_budget(group="discord"), 0),
        (replace_budget(per=Period.DAY), 3), (replace_budget(per=Period.EVER), 3),
    ],
)  # fmt: skip
def test_only_calls_that_a_budget_may_count_are_counted_again(fleet, budget, counted):
    async def story(f):
        worker = await start(f, budget)
        await submit(f, 2, producer="night bot", group="discord:main")
        await submit(f, 1, producer="day", group="discord:main")
        for delivery in (await worker.claim(3, 0)).deliveries:
            await settle_as_recorded(f, worker, delivery)
        f.store.delete("of:budget-sums")
        await submit(f, 1, producer="night bot", group="discord:main")
        await claimed(worker, 1)
        (state,) = await list_budgets(f.link, [budget], f.clock.now)
        assert state.spent == counted * CALL

    fleet(story)


def test_each_owner_of_a_budget_has_its_own_calls_counted_again(fleet):
    each = Budget(name="each", usd=0.005, each=Each.PRODUCER)

    async def story(f):
        worker = await start(f, each)
        for producer, count in (("night bot", 2), ("a=20b", 1)):
            await submit(f, count, producer=producer)
        for delivery in (await worker.claim(3, 0)).deliveries:
            await settle_as_recorded(f, worker, delivery)
        f.store.delete("of:budget-sums")
        await submit(f, 1, producer="night bot")
        await submit(f, 1, producer="a=20b")
        await claimed(worker, 2)
        states = await list_budgets(f.link, [each], f.clock.now)
        assert {state.owner: state.spent // CALL for state in states} == {"night bot": 2, "a=20b": 1}

    fleet(story)


def test_a_budget_without_end_counts_as_spent_where_the_ledger_does_not_reach_as_far_back(fleet):
    budget = replace_budget(per=Period.EVER)

    async def story(f):
        worker = await start(f, budget)
        await submit(f, 1)
        (old,), _ = await claimed(worker)
        await settle(f, worker, old)
        f.clock.now += 95 * 86400
        f.store.delete("of:budget-sums")
        await submit(f, 1)
        assert [over.cause for over in (await claimed(worker))[1]] == [OverCause.SPENT]
        await raise_budget(f.link, "house", CALL, f.clock.now + 60)
        await submit(f, 1)
        assert len((await claimed(worker))[0]) == 1

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
        assert ((await state(f)).needed, (await state(f)).refused) == (0, 1)

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


def test_each_raise_is_added_to_those_before_it_and_lasts_until_its_own_end(fleet):
    async def limits(f, worker):
        """The limit above the configured one that readers see, and how many calls a claim allows beyond it."""
        (state,) = await list_budgets(f.link, [HOUSE], f.clock.now)
        await submit(f, 4)
        allowed, _ = await claimed(worker)
        for delivery in allowed:
            await settle(f, worker, delivery, cost=0)
        return (state.limit - 5 * CALL) // CALL, len(allowed)

    async def story(f):
        f.clock.now -= f.clock.now % 86400
        worker = await start(f, HOUSE)
        await submit(f, 5)
        for delivery in (await claimed(worker))[0]:
            await settle(f, worker, delivery, cost=CALL)
        assert await raise_budget(f.link, "house", 2 * CALL, f.clock.now + 100) == 2 * CALL
        assert await raise_budget(f.link, "house", CALL, f.clock.now + 50) == 3 * CALL
        assert await limits(f, worker) == (3, 3)
        f.clock.now += 60
        assert await limits(f, worker) == (2, 2)
        assert await raise_budget(f.link, "house", CALL, f.clock.now + 10) == 3 * CALL
        assert await raise_budget(f.link, "house", 0, f.clock.now + 10) == 0
        assert await limits(f, worker) == (0, 0)
        assert f.store.hgetall("of:budget-raises") == {}

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
