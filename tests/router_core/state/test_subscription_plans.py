"""A flat plan that is out for a week: how often it is asked, when it is asked again, and what is learned of its cap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.steps import Later
from openfall.router_core.deciding.subscription_limits import PlanReport, PlanShare, plan_report
from openfall.router_core.jobs.outcome import Attempt, Failure
from openfall.router_core.state.breakers import ProbeResult, report_probe
from openfall.router_core.state.call_money import CallMoney
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.subscription_plans import list_plans
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

QUEUE, WEEK = "cloud.qwen.background", 7 * 86400
WINDOWS = (18_000.0, 604_800.0)
CATALOG = Catalog(
    backends={
        "plan": Backend(
            url="http://127.0.0.1:1", pool="cloud", billing=Billing.FLAT, api_key="sk-0123456789abcdef",
            plan_windows=WINDOWS,
        )
    },
    models={"qwen": ModelSpec(upstream="qwen", backends=("plan",))},
)  # fmt: skip
(KEY,) = CATALOG.credentials("plan")
SEATS = QueueSubscription(QUEUE, (BackendCapacity("plan", 4, (KEY,)),))


def failure_of(error, detail, wait=None):
    return error and Failure(error_class=error, detail=detail, retry_after=wait)


class Plan:
    """A subscription that refuses every call for a week, while a job waits for it all the time."""

    def __init__(self, f, worker, windows, says_when):
        self.f, self.worker, self.windows, self.says_when = f, worker, windows, says_when
        self.refused, self.answered, self.resets_at = 0, 0, f.clock.now + WEEK

    def call(self):
        """The error of a call now, and what it says of the plan."""
        left = self.resets_at - self.f.clock.now
        error = ErrorClass.OUT_OF_CREDITS if left > 0 else None
        self.refused, self.answered = self.refused + bool(error), self.answered + (not error)
        wait = left if self.says_when and error else None
        return error, plan_report(self.windows, failure_of(error, "your weekly usage limit", wait))

    async def round(self):
        """What a worker does once: claim, call or probe, report."""
        claim = await self.worker.claim(1, 0)
        for delivery in claim.deliveries:
            error, plan = self.call()
            await settle(self.f, self.worker, delivery, error, plan, 1.0)
        for probe in claim.probes:
            error, plan = self.call()
            signal = CallSignal.FAILURE if error else CallSignal.OK
            result = ProbeResult(signal, "", 0.0, 0.5, error=error, plan=plan if error else None)
            await report_probe(self.f.link, probe, result, CATALOG.breakers)


async def settle(f, worker, delivery, error, plan, delay):
    attempt = Attempt(model="qwen", backend="plan", started_at=0, ended_at=0, error=error, cost_nusd=0)
    call = f.call_report(attempt, delivery, credential=KEY, money=CallMoney(plan=plan))
    if error:
        call = replace(call, credential_signal=CredentialSignal.PARK)
    later = DeliveryOutcome(next_step=Later("qwen", delay), call=call, to_queue=QUEUE)
    await worker.settle(worker.settlement(delivery, later))


@pytest.mark.parametrize(
    ("windows", "says_when", "most_refused", "most_late"),
    [
        pytest.param((), True, 1, 300, id="the provider says when it resets"),
        pytest.param(WINDOWS, False, 2, 600, id="its windows are configured"),
        pytest.param((), False, 20, 86_400, id="nothing is known"),
    ],
)
def test_a_plan_that_is_out_for_a_week_gets_at_most_20_refused_calls_and_is_called_soon_after_its_reset(
    fleet, windows, says_when, most_refused, most_late
):
    async def story(f):
        worker = await f.start_worker("wa", SEATS, local=False)
        await f.accept("job-00001", queue=QUEUE, expires_after_seconds=3 * WEEK)
        plan = Plan(f, worker, windows, says_when)
        while not plan.answered:
            await plan.round()
            f.clock.now += 60 if f.clock.now > plan.resets_at - 600 else 600
        assert 1 <= plan.refused <= most_refused
        assert f.clock.now - plan.resets_at <= most_late + 60

    fleet(story)


def test_the_cap_of_a_window_is_learned_and_its_used_share_is_shown(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS, local=False)
        await f.enqueue(12, QUEUE)

        async def call(error=None):
            (delivery,) = (await worker.claim(1, 0)).deliveries
            await settle(
                f, worker, delivery, error, plan_report(WINDOWS, failure_of(error, "session usage limit")), 9e5
            )

        opened = f.clock.now
        for _ in range(5):
            await call()
        await call(ErrorClass.OUT_OF_CREDITS)
        session, week = await list_plans(f.link, CATALOG, f.clock.now)
        assert (session.calls, session.cap) == (5, 5)
        assert session.resets_at - opened == pytest.approx(18_000)
        assert (week.calls, week.cap, week.share) == (5, None, None)
        f.clock.now = opened + 18_001
        (only,) = await list_plans(f.link, CATALOG, f.clock.now)
        assert only.window_seconds == 604_800.0
        f.store.hdel("of:blocked", f"key:{KEY}")
        f.store.hset(f"of:breaker:key:{KEY}", "state", "closed")
        for _ in range(4):
            await call()
        session, week = await list_plans(f.link, CATALOG, f.clock.now)
        assert (session.calls, session.cap, session.share, week.calls) == (4, 5, 0.8, 9)

    fleet(story)


def test_a_named_share_comes_before_the_counted_one_until_its_window_resets(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS, local=False)
        await f.enqueue(3, QUEUE)

        async def call(*shares):
            (delivery,) = (await worker.claim(1, 0)).deliveries
            await settle(f, worker, delivery, None, PlanReport(WINDOWS, answered=True, shares=shares), 9e5)

        async def shown():
            return [
                (plan.window_seconds, plan.calls, plan.share) for plan in await list_plans(f.link, CATALOG, f.clock.now)
            ]

        await call(PlanShare(1, 18_000, 810, 60), PlanShare(2, 2_592_000, 1000, 900))
        assert await shown() == [(18_000, 1, 0.81), (604_800, 1, None), (2_592_000, None, 1.0)]
        await call(PlanShare(1, 18_000, 820, 60))
        assert (await shown())[0] == (18_000, 2, 0.82)
        await call()
        assert (await shown())[0] == (18_000, 3, 0.82), "an answer without the headers says nothing"
        f.clock.now += 61
        assert await shown() == [(18_000, 3, None), (604_800, 3, None), (2_592_000, None, 1.0)]
        f.store.hset(f"of:plan:key:{KEY}", "share:2", "all of it")
        assert len(await shown()) == 2, "what cannot be read is left out"

    fleet(story)


def test_a_window_that_begins_in_the_future_begins_again_with_the_next_call(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS, local=False)
        await f.enqueue(2, QUEUE)
        for ahead in (0, 30 * WEEK):
            f.store.hset(f"of:plan:key:{KEY}", "opened:1", int((f.clock.now + ahead) * 1000))
            (delivery,) = (await worker.claim(1, 0)).deliveries
            await settle(f, worker, delivery, None, PlanReport(WINDOWS, answered=True), 9e5)
        session, week = await list_plans(f.link, CATALOG, f.clock.now)
        assert (session.calls, week.calls) == (1, 2), "the calls of a window that cannot be right are not counted on"
        assert session.resets_at - f.clock.now == pytest.approx(18_000)

    fleet(story)


def test_a_pause_that_ends_later_than_any_is_not_kept(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS, local=False)
        await f.enqueue(1, QUEUE)
        f.store.hset(f"of:plan:key:{KEY}", "pauses:qwen", f"1 {int((f.clock.now + 30 * WEEK) * 1000)}")
        (delivery,) = (await worker.claim(1, 0)).deliveries
        await settle(f, worker, delivery, ErrorClass.RATE_LIMITED, PlanReport(is_out=True), 9e5)
        pauses, until = f.store.hget(f"of:plan:key:{KEY}", "pauses:qwen").split()
        assert int(pauses) == 2
        assert 0 < int(until) / 1000 - f.clock.now < WEEK

    fleet(story)
