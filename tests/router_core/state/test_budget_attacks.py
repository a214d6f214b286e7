"""Budgets whose names, members and clock change while calls are in flight: no sum is lost or counted twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.budget_book import audit_budgets, list_budgets
from openfall.router_core.state.reap_and_sweep import reap
from tests.budget_sums import pack_sums, unpack_sums
from tests.router_core.state.test_budgets import CALL, HOUSE, claimed, settle, start, submit, sums

OTHER = Budget(name="other", usd=0.005)
EACH = Budget(name="bots", usd=0.005, each=Each.PRODUCER)


def test_a_reserve_ends_in_a_budget_that_was_removed_and_not_in_one_that_was_added(fleet):
    async def story(f):
        before, after = await start(f, HOUSE), await start(f, OTHER, name="wb")
        await submit(f, 2)
        (first,), _ = await claimed(before, 1)
        (second,), _ = await claimed(after, 1)
        assert await settle(f, after, first) == "settled"
        assert await settle(f, before, second) == "settled"
        assert await sums(f) == await sums(f, OTHER) == (CALL // 4, 0, 0)
        assert await audit_budgets(f.link) == []

    fleet(story)


@pytest.mark.parametrize("back", [1, 3600, 86_400, 40 * 86_400], ids=["a second", "an hour", "a day", "40 days"])
def test_a_clock_that_steps_back_lets_a_reserve_end_where_it_began(fleet, back):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        (late,), _ = await claimed(worker, 1)
        noon = f.clock.now
        f.clock.now -= back
        assert await settle(f, worker, late) == "settled"
        (early,), _ = await claimed(worker, 1)
        assert await settle(f, worker, early) == "settled"
        f.store.delete("of:lock:budget-audit")
        assert await audit_budgets(f.link) == []
        rows = [unpack_sums(packed) for packed in f.store.hvals("of:budget-sums")]
        assert sum(row[0] for row in rows) == 2 * (CALL // 4)
        assert {row[1] for row in rows} == {0}
        f.clock.now = noon
        assert (await sums(f))[1] == 0

    fleet(story)


@pytest.mark.parametrize(
    "name", ["a b", "a:b", "a=20b", "a%20b", "*", "-", "@role", "ünïcode 家族", "x" * 120, "1 0 0 0 0 0", "a\nb"]
)
def test_any_name_of_a_producer_has_a_window_of_its_own(fleet, name):
    async def story(f):
        worker = await start(f, EACH)
        await submit(f, 1, producer=name)
        await submit(f, 1, producer="other")
        calls, _ = await claimed(worker)
        states = {
            state.owner: (state.reserved, state.calls) for state in await list_budgets(f.link, [EACH], f.clock.now)
        }
        assert states == {name: (CALL, 1), "other": (CALL, 1)}
        for delivery in calls:
            assert await settle(f, worker, delivery) == "settled"
        states = {
            state.owner: (state.spent, state.reserved) for state in await list_budgets(f.link, [EACH], f.clock.now)
        }
        assert states == {name: (CALL // 4, 0), "other": (CALL // 4, 0)}

    fleet(story)


@pytest.mark.parametrize("cost", [0, 1, CALL, CALL + 1, 10**15, 10**300])
def test_any_cost_ends_the_whole_reserve_and_is_counted_up_to_a_million_dollars(fleet, cost):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 1)
        (delivery,), _ = await claimed(worker)
        assert await settle(f, worker, delivery, cost=cost) == "settled"
        assert await sums(f) == (min(cost, 10**15), 0, 0)

    fleet(story)


def test_the_calls_of_one_job_over_midnight_count_in_the_window_in_which_each_began(fleet):
    async def story(f):
        zone = Budget(name="house", usd=0.005, timezone="Asia/Kathmandu", per=Period.DAY)
        f.clock.now = datetime(2026, 11, 30, 18, 14, 55, tzinfo=UTC).timestamp()  # 5 s before midnight in Nepal
        worker, heir = await start(f, zone), await start(f, zone, name="wb")
        await submit(f, 1)
        (first,), _ = await claimed(worker)
        await f.pass_time(LEASE_SECONDS + 1, (heir, ()))
        await reap(f.link)
        (second,), _ = await claimed(heir)
        assert await settle(f, heir, second) == "settled"
        days = {key.decode(): unpack_sums(packed) for key, packed in f.store.hgetall("of:budget-sums").items()}
        assert days == {
            "house:2026-11-30": (0, 0, CALL, 1), "house:2026-12-01": (CALL // 4, 0, 0, 1)
        }  # fmt: skip
        assert await settle(f, worker, first, cost=7) == "late"
        assert f.store.hget("of:budget-sums", "house:2026-11-30") == pack_sums(7, 0, 0, 1)

    fleet(story)
