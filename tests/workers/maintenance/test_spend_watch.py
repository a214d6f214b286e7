"""What is reported of money: once for each cause, with the sums as they are, and over when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budgets import Budget, OverKind
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.degrading.incident_end import MONEY_QUIET_SECONDS
from openfall.router_core.state.incidents import close_incident, open_incidents
from openfall.router_core.state.ledger import ledger_day
from openfall.router_core.state.outbox import NoticeKind
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BUDGET_LOW, BUDGET_SPENT, PLAN_LOW, UNEXPECTED_SPEND
from openfall.workers.maintenance.spend_watch import INTERVAL_SECONDS, SpendWatch
from openfall.workers.outbox.notifiers.wording import Notice, advice, summary, title
from tests.budget_sums import pack_sums

NOON = 1_800_014_400.0
CATALOG = Catalog(
    backends={
        "plan": Backend(
            url="http://127.0.0.1:1", pool="cloud", billing=Billing.FLAT, api_key="sk-0123456789abcdef",
            plan_windows=(18_000.0,),
        )
    },
    models={"qwen": ModelSpec(upstream="qwen", backends=("plan",))},
    budgets=(
        Budget(name="house", usd=1, soft=0.8),
        Budget(name="other", usd=1),
        Budget(name="strict", usd=1, soft=0.8, then=(OverKind.LOCAL, OverKind.REFUSE)),
        Budget(name="nothing", usd=0, then=(OverKind.REFUSE,)),
        Budget(name="harsh", usd=1, then=(OverKind.REFUSE, OverKind.WAIT)),
        Budget(name="free", usd=1, then=(OverKind.LOCAL,)),
    ),
)  # fmt: skip
(KEY,) = CATALOG.credentials("plan")
DAY = ledger_day(NOON)
ROW = "main qwen haiku rate_limited (HTTP 429)"


class Desk:
    def __init__(self, link, store, clock):
        self.link, self.store, self.clock = link, store, clock
        self.watch = SpendWatch(link, CATALOG, ("discord",))

    async def look(self):
        self.clock[0] += INTERVAL_SECONDS
        await self.watch.watch(self.clock[0])
        return {incident.reason: incident for incident in await open_incidents(self.link)}

    def words(self, incident):
        notice = Notice(entry="", kind=NoticeKind.BEGAN, incident=incident, unmentioned=0, now=self.clock[0])
        return title(notice), summary(notice), advice(incident)


@pytest.fixture
def at_noon(redis_url: str) -> Callable[[Callable[[Desk], Awaitable[None]]], None]:
    def run(story):
        async def main():
            clock = [NOON]
            with redis.Redis.from_url(redis_url) as store:
                async with RedisConnection(redis_url, clock=lambda: clock[0]) as link:
                    await story(Desk(link, store, clock))

        asyncio.run(main())

    return run


def test_unexpected_spend_is_one_incident_with_cause_and_sum_until_10_minutes_passed_without_any(at_noon):
    async def story(desk):
        last = {"last": int(desk.clock[0] * 1000)}
        desk.store.hset(f"of:unexpected:{DAY}", mapping={f"calls {ROW}": 3, f"nusd {ROW}": 9 * 10**7, **last})
        assert await desk.look() == {}, "less than unexpected_usd a day is no news"
        desk.store.hset(f"of:unexpected:{DAY}", mapping={f"calls {ROW}": 37, f"nusd {ROW}": 41 * 10**7, **last})
        (incident,) = (await desk.look()).values()
        assert incident.reason == UNEXPECTED_SPEND
        assert desk.words(incident)[:2] == (
            "Calls cost money that should cost nothing",
            "$0.41 today: 37 × haiku instead of qwen. Causes: 37 × rate_limited (HTTP 429).",
        )
        desk.store.hset(f"of:unexpected:{DAY}", mapping={f"calls {ROW}": 40, f"nusd {ROW}": 50 * 10**7})
        (same,) = (await desk.look()).values()
        assert (same.id, same.nusd, same.models) == (incident.id, 50 * 10**7, {"haiku instead of qwen": 40})
        assert [row.decode() for row in desk.store.zrange("of:outbox", 0, -1)] == [f"notice:discord:{same.id}:began"]
        assert await close_incident(desk.link, UNEXPECTED_SPEND, ()) is None
        desk.clock[0] += 2 * MONEY_QUIET_SECONDS
        await desk.look()
        assert await close_incident(desk.link, UNEXPECTED_SPEND, ()) == same.id

    at_noon(story)


@pytest.mark.parametrize("used", [8 * 10**8, 6 * 10**8], ids=["its soft share is used", "its limit will be early"])
def test_a_budget_with_a_soft_share_is_reported_and_calls_go_on(at_noon, used):
    async def story(desk):
        desk.clock[0] -= 3600 * 2
        desk.store.hset(
            "of:budget-sums",
            mapping={f"house:{DAY}": pack_sums(used, 0, 0, 1), f"other:{DAY}": pack_sums(10**9, 0, 0, 1)},
        )
        (incident,) = (await desk.look()).values()
        assert incident.reason == BUDGET_LOW
        assert desk.words(incident)[:2] == ("A budget is nearly spent", f"Used: house: {used // 10**7} %.")

    at_noon(story)


def test_a_budget_that_is_spent_and_holds_no_job_is_reported_once_it_refuses_a_call(at_noon):
    async def story(desk):
        spent = pack_sums(10**9, 0, 0, 5, 2, 3 * 10**6)
        sums = {f"{name}:{DAY}": spent for name in ("other", "strict", "harsh", "free")} | {
            f"nothing:{DAY}": pack_sums(0, 0, 0, 0, 2, 1)
        }
        desk.store.hset("of:budget-sums", mapping=sums)
        (incident,) = (await desk.look()).values()
        assert incident.reason == BUDGET_SPENT
        assert desk.words(incident) == (
            "A budget is spent, and refuses calls",
            "Used: harsh: 100 %, strict: 100 %.",
            "`openfall budgets raise` raises its limit for a while; `openfall budgets` shows when it resets.",
        )

    at_noon(story)


def test_a_budget_that_is_used_as_planned_is_no_news(at_noon):
    async def story(desk):
        desk.store.hset("of:budget-sums", f"house:{DAY}", pack_sums(4 * 10**8, 0, 0, 1))
        assert await desk.look() == {}

    at_noon(story)


def test_a_subscription_is_reported_at_80_percent_of_its_learned_cap(at_noon):
    async def story(desk):
        opened = {"opened:1": int((NOON - 60) * 1000), "caps:1": "100"}
        for calls, reasons in ((79, []), (80, [PLAN_LOW])):
            desk.store.hset(f"of:plan:key:{KEY}", mapping={**opened, "calls:1": calls})
            incidents = await desk.look()
            assert list(incidents) == reasons
        assert desk.words(incidents[PLAN_LOW])[:2] == ("A flat plan is nearly used up", "Used: plan (5 h): 80 %.")

    at_noon(story)


def test_it_looks_every_half_minute(at_noon):
    async def story(desk):
        await desk.watch.watch(desk.clock[0])
        desk.store.hset("of:budget-sums", f"house:{DAY}", pack_sums(9 * 10**8, 0, 0, 1))
        await desk.watch.watch(desk.clock[0] + INTERVAL_SECONDS - 1)
        assert await open_incidents(desk.link) == ()

    at_noon(story)
