"""A flat plan that is out is reported once to people, with its recovery; a short rate limit is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import redis

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.degrading.incident_end import FLAT_PLAN_QUIET_SECONDS
from openfall.router_core.state.breakers import reset_breaker
from openfall.router_core.state.external_calls import ExternalCall, report_external_call
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.incidents import Incident, close_incident, fetch_incident, open_incidents
from openfall.router_core.state.outbox import NoticeKind
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import FLAT_PLAN, ErrorClass
from openfall.workers.maintenance.flat_plan_watch import RATE_LIMITED_SECONDS, FlatPlanWatch
from openfall.workers.maintenance.incident_closer import close_ended_incidents
from openfall.workers.outbox.notifiers.wording import Notice, summary, title

CATALOG = Catalog(
    backends={
        "plan": Backend(url="http://127.0.0.1:1", pool="cloud", billing=Billing.FLAT, api_key="sk-0123456789abcdef"),
        "paid": Backend(url="http://127.0.0.1:2", pool="cloud", api_key="sk-fedcba9876543210"),
    },
    models={
        "qwen": ModelSpec(upstream="qwen", backends=("plan",)),
        "haiku": ModelSpec(upstream="haiku", backends=("paid",)),
    },
)


@dataclass
class PlanHarness:
    link: RedisConnection
    store: redis.Redis
    time: list[float]
    plans: FlatPlanWatch

    async def call(self, model: str, backend: str, error: ErrorClass, retry_after: float | None = None) -> None:
        call = ExternalCall(model=model, backend=backend, error=error, retry_after_seconds=retry_after)
        await report_external_call(self.link, CATALOG, call)

    async def look(self) -> Incident | None:
        """What the degrade worker does every two seconds. Returns the incident, if one is open."""
        snapshot = await fetch_fleet_snapshot(self.link, CATALOG)
        await self.plans.watch(snapshot)
        await close_ended_incidents(self.link, snapshot)
        return next(iter(await open_incidents(self.link)), None)

    @property
    def outbox(self) -> list[str]:
        return [entry.decode() for entry in self.store.zrange("of:outbox", 0, -1)]


@pytest.fixture
def watching(redis_url: str) -> Callable[[Callable[[PlanHarness], Awaitable[None]]], None]:
    def run(story: Callable[[PlanHarness], Awaitable[None]]) -> None:
        async def main() -> None:
            now = [1800000000.0]
            with redis.Redis.from_url(redis_url) as store:
                async with RedisConnection(redis_url, clock=lambda: now[0]) as link:
                    await story(PlanHarness(link, store, now, FlatPlanWatch(link, CATALOG, ("discord",))))

        asyncio.run(main())

    return run


def text(kind: NoticeKind, incident: Incident, now: float) -> tuple[str, str]:
    notice = Notice(entry="", kind=kind, incident=incident, unmentioned=0, now=now)
    return title(notice), summary(notice)


@pytest.mark.parametrize("error", [ErrorClass.OUT_OF_CREDITS, ErrorClass.AUTH])
def test_a_flat_plan_without_credit_is_reported_once_and_its_recovery_too(watching, error):
    async def story(h):
        await h.call("qwen", "plan", error)
        incident = await h.look()
        for _ in range(3):
            h.time[0] += 100
            assert (await h.look()).id == incident.id, "one incident, however long"
        assert h.outbox == [f"notice:discord:{incident.id}:began"]
        assert text(NoticeKind.BEGAN, incident, h.time[0]) == (
            "A flat plan is out",
            f"qwen@plan take no calls ({error}). "
            "Their jobs go to the next models of their chains, which may be metered.",
        )
        await reset_breaker(h.link, f"key:{next(iter(CATALOG.credentials('plan')))}", CATALOG.breakers)
        h.store.delete("of:blocked")  # its probe was answered
        h.time[0] += FLAT_PLAN_QUIET_SECONDS
        assert await h.look() is None
        assert f"notice:discord:{incident.id}:recovered" in h.outbox
        ended = await fetch_incident(h.link, incident.id)
        assert text(NoticeKind.RECOVERED, ended, h.time[0]) == (
            "Over: a flat plan is out",
            "It lasted 6 min. The models of the plan take calls again: qwen@plan.",
        )

    watching(story)


def test_a_flat_plan_whose_limit_lasts_is_reported_and_a_short_one_is_not(watching):
    async def story(h):
        await h.call("qwen", "plan", ErrorClass.RATE_LIMITED, 5)
        assert await h.look() is None
        h.time[0] += 6
        await h.call("qwen", "plan", ErrorClass.RATE_LIMITED, RATE_LIMITED_SECONDS)
        assert (await h.look()).causes == {"rate_limited": 1}

    watching(story)


def test_a_flat_plan_that_refuses_call_after_call_is_reported_although_each_limit_is_short(watching):
    async def story(h):
        for _ in range(3):
            await h.call("qwen", "plan", ErrorClass.RATE_LIMITED, 5)
            assert await h.look() is None
            h.time[0] += 12
        await h.call("qwen", "plan", ErrorClass.RATE_LIMITED, 5)
        assert await h.look() is not None

    watching(story)


def test_a_metered_backend_and_an_outage_of_a_flat_one_are_no_news_of_a_plan(watching):
    async def story(h):
        await h.call("haiku", "paid", ErrorClass.OUT_OF_CREDITS)
        await h.call("qwen", "plan", ErrorClass.NOT_INSTALLED)
        assert await h.look() is None

    watching(story)


def test_jobs_that_are_held_do_not_keep_the_incident_of_a_plan_open(watching):
    async def story(h):
        await h.call("qwen", "plan", ErrorClass.RATE_LIMITED, RATE_LIMITED_SECONDS)
        incident = await h.look()
        h.time[0] += RATE_LIMITED_SECONDS + FLAT_PLAN_QUIET_SECONDS
        h.store.rpush("rq:queue:degrade", "job-00001")
        assert await close_incident(h.link, FLAT_PLAN, ()) == incident.id

    watching(story)
