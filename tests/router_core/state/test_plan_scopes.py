"""A flat plan that refuses one model, or one after the other: what is parked, for how long, how often it is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.deciding.steps import Later
from openfall.router_core.deciding.subscription_limits import plan_report
from openfall.router_core.jobs.outcome import Attempt, Failure, RefusedLimit
from openfall.router_core.state.call_money import CallMoney
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import CredentialSignal, ErrorClass, LimitScope

DAY, WEEK = 86_400.0, 7 * 86_400
KEY, MODEL, UNKNOWN = LimitScope


def refusal(scope=UNKNOWN, wait=DAY, *, is_lasting=False):
    return Failure(error_class=ErrorClass.RATE_LIMITED, retry_after=wait, limit=RefusedLimit(scope, is_lasting))


class Plan:
    """Two models of one plan, each with a worker and a job that waits for it all the time."""

    def __init__(self, f, keys):
        self.f, self.keys, self.workers = f, keys, {}

    async def start(self):
        for model in ("free", "paid"):
            seats = QueueSubscription(f"cloud.{model}.background", (BackendCapacity("plan", 4, self.keys),))
            self.workers[model] = await self.f.start_worker(f"w-{model}", seats, local=False)
            await self.f.accept(f"job-{model}", queue=seats.queue, expires_after_seconds=9 * WEEK)
        return self

    async def claim(self, model):
        return next(iter((await self.workers[model].claim(1, 0)).deliveries), None)

    async def settle(self, model, delivery, failure=None):
        error = failure and failure.error_class
        attempt = Attempt(model=model, backend="plan", started_at=0, ended_at=0, error=error, cost_nusd=0)
        money = CallMoney(plan=plan_report((), failure))
        call = self.f.call_report(attempt, delivery, credential=delivery.credential, money=money)
        call = replace(call, one_of_several=len(self.keys) > 1)
        if failure:
            cooldown = min(3600.0, failure.retry_after or 5.0)
            call = replace(call, credential_signal=CredentialSignal.COOLDOWN, cooldown_seconds=cooldown)
        queue = f"cloud.{model}.background"
        later = DeliveryOutcome(next_step=Later(model, 0.001), call=call, to_queue=queue)
        await self.workers[model].settle(self.workers[model].settlement(delivery, later))
        self.f.clock.now += 1

    async def call(self, model, failure=None):
        """Whether the model was called."""
        delivery = await self.claim(model)
        if delivery is not None:
            await self.settle(model, delivery, failure)
        return delivery is not None


def with_plan(fleet, story, keys=("k1",)):
    async def main(f):
        await story(f, await Plan(f, keys).start())

    fleet(main)


@pytest.mark.parametrize("scope", [UNKNOWN, MODEL])
def test_a_refusal_for_a_day_parks_the_model_for_the_day_and_the_other_model_is_called(fleet, scope):
    async def story(f, plan):
        assert await plan.call("free", refusal(scope))
        for _ in range(20):
            assert await plan.call("paid")
            assert not await plan.call("free")
            f.clock.now += DAY / 25
        f.clock.now += DAY / 4
        assert await plan.call("free")

    with_plan(fleet, story)


def test_a_refusal_that_names_the_key_parks_the_key(fleet):
    async def story(f, plan):
        assert await plan.call("free", refusal(KEY))
        assert not await plan.call("paid")
        assert f.store.hget("of:blocked", "key:k1") is not None

    with_plan(fleet, story)


def test_a_second_model_that_is_refused_the_same_way_shows_that_the_key_is_used_up(fleet):
    async def story(f, plan):
        assert await plan.call("free", refusal())
        assert f.store.hget("of:blocked", "key:k1") is None
        assert await plan.call("paid", refusal())
        assert f.store.hget("of:blocked", "key:k1") is not None

    with_plan(fleet, story)


@pytest.mark.parametrize("first", ["an answer between", "a limit of the model", "a wait that is over"])
def test_a_second_refusal_is_no_evidence_after(fleet, first):
    async def story(f, plan):
        await plan.call("free", refusal(MODEL if first == "a limit of the model" else UNKNOWN, 2000.0))
        if first == "an answer between":
            await plan.call("paid")
        if first == "a wait that is over":
            f.clock.now += 2001
        assert await plan.call("paid", refusal())
        assert f.store.hget("of:blocked", "key:k1") is None

    with_plan(fleet, story)


def test_the_same_model_refused_by_calls_that_were_in_flight_together_is_no_evidence(fleet):
    async def story(f, plan):
        await f.accept("job-second", queue="cloud.free.background", expires_after_seconds=9 * WEEK)
        first, second = await plan.claim("free"), await plan.claim("free")
        await plan.settle("free", first, refusal())
        await plan.settle("free", second, refusal())
        assert await plan.call("paid")

    with_plan(fleet, story)


@pytest.mark.parametrize("keys", [("k1",), ("k1", "k2"), ()])
@pytest.mark.parametrize("wait", [None, 36.0])
def test_a_model_that_is_refused_for_a_week_without_a_true_time_is_called_at_most_20_times_a_key(fleet, keys, wait):
    async def story(f, plan):
        calls, resets_at = 0, f.clock.now + WEEK
        while f.clock.now < resets_at:
            calls += await plan.call("free", refusal(MODEL, wait, is_lasting=True))
            f.clock.now += 300
        assert max(1, len(keys)) <= calls <= 20 * max(1, len(keys))
        f.clock.now += DAY
        assert await plan.call("free")
        await plan.call("free", refusal(MODEL, wait, is_lasting=True))
        f.clock.now += 301
        assert await plan.call("free"), "an answer makes the next pause short again"

    with_plan(fleet, story, keys)


def test_calls_in_flight_that_are_refused_together_count_as_one_refusal(fleet):
    async def story(f, plan):
        for number in range(3):
            await f.accept(f"job-more-{number}", queue="cloud.free.background", expires_after_seconds=9 * WEEK)
        deliveries = [await plan.claim("free") for _ in range(4)]
        for delivery in deliveries:
            await plan.settle("free", delivery, refusal(MODEL, 36.0, is_lasting=True))
        f.clock.now += 300
        assert await plan.call("free")

    with_plan(fleet, story)


def test_one_of_several_keys_waits_for_a_model_while_the_other_key_is_called(fleet):
    async def story(f, plan):
        assert await plan.call("free", refusal())
        assert await plan.call("free"), "with the other key"
        assert await plan.call("free")
        assert await plan.call("paid")

    with_plan(fleet, story, ("k1", "k2"))
