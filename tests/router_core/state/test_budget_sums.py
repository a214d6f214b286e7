"""The sums of budgets in Redis: what is removed, and what cannot be read."""

from __future__ import annotations

from openfall.router_core.state.budget_book import audit_budgets
from tests.router_core.state.test_budgets import CALL, HOUSE, claimed, replace_budget, settle, start, submit, sums


def test_a_window_that_refused_every_call_is_removed_100_days_after_its_end_like_any_other(fleet):
    budget = replace_budget(usd=0)

    async def story(f):
        worker = await start(f, budget)
        await submit(f, 1)
        await claimed(worker)
        ((key, ends),) = f.store.zrange("of:budgets", 0, -1, withscores=True)
        assert f.store.hgetall("of:budget-sums") == {key: b"0 0 0 0 1"}
        for days, left in ((99, 1), (101, 0)):
            f.store.delete("of:lock:budget-audit")
            f.clock.now = ends / 1000 + days * 86400
            await audit_budgets(f.link)
            assert f.store.hlen("of:budget-sums") == f.store.zcard("of:budgets") == left

    fleet(story)


def test_sums_that_cannot_be_read_stop_no_claim_and_no_settle_and_are_noted(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        (first,), _ = await claimed(worker, 1)
        (key,) = f.store.zrange("of:budgets", 0, -1)
        f.store.hset("of:budget-sums", key, "many")
        (second,), _ = await claimed(worker, 1)
        assert await sums(f) == (0, CALL, 0)
        await settle(f, worker, first)
        f.store.hset("of:budget-sums", key, "-1 x")
        await settle(f, worker, second)
        assert await sums(f) == (CALL // 4, 0, 0)
        assert f.store.hget("of:counters", "unreadable") == b"2"

    fleet(story)
