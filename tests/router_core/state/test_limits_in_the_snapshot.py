"""Routing knows of the limits of providers: a backend at its limit is like a full one, with a known next moment."""

from __future__ import annotations

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.rate_limits import ChargedCall
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.route import route
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.external_calls import ExternalCall, report_external_call, start_external_call
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.worker_subscription import QueueSubscription, backends_for
from openfall.router_core.vocabulary import BlockReason, BreakerState, Urgency
from tests.router_core.state.breaker_steps import POLICY

INTERACTIVE, BATCH = Urgency.INTERACTIVE, Urgency.BATCH


def catalog(**sky):
    return Catalog(
        backends={
            "sky": Backend(**{"url": "http://sky.invalid", "pool": "cloud", "slots": 4, **sky}),
            "far": Backend(url="http://far.invalid", pool="cloud", slots=4),
        },
        models={
            "big": ModelSpec(upstream="big", backends=("sky",)),
            "other": ModelSpec(upstream="other", backends=("far",)),
        },
        roles={"chat": Role(chain=("big", "other"))},
    )


async def serve(f, by):
    drained = [
        QueueSubscription(by.queue(model, urgency), tuple(backends_for(by, model)))
        for urgency in Urgency
        for model in by.models
    ]
    return await f.start_worker("wa", *drained, local=False)


async def use_up(f, by, worker, jobs):
    """Claim that many jobs of `big`, which end at once."""
    await f.enqueue(jobs, by.queue("big", INTERACTIVE))
    for delivery in (await worker.claim(jobs, 0)).deliveries:
        await f.settle(worker, delivery)


async def routed(f, by, urgency):
    snapshot = await fetch_fleet_snapshot(f.link, by)
    return route(by, snapshot.fleet_state, RouteRequest(role="chat", urgency=urgency), snapshot.now)


def test_an_interactive_job_goes_to_the_next_model_when_the_limit_lets_it_wait_beyond_start_within(fleet):
    async def story(f):
        by = catalog(requests_per_minute=5)
        worker = await serve(f, by)
        await use_up(f, by, worker, 1)
        snapshot = await fetch_fleet_snapshot(f.link, by)
        blocked = snapshot.fleet_state(INTERACTIVE).model("big").blocked
        assert (blocked.reason, blocked.until) == (BlockReason.LIMIT, f.clock.now + 12)
        plan = await routed(f, by, INTERACTIVE)
        assert plan.chain == ("other", "big")
        assert plan.reason.endswith("big moved back: its limit of 5 requests a minute is reached, free in 12 s")
        f.clock.now += 8
        plan = await routed(f, by, INTERACTIVE)
        assert plan.chain == ("big", "other"), "4 s are within its start_within"
        assert plan.reason.endswith("its limit of 5 requests a minute is reached, free in 4 s")

    fleet(story)


def test_a_batch_job_waits_for_the_limit_in_the_queue_of_its_model(fleet):
    async def story(f):
        by = catalog(requests_per_minute=5)
        worker = await serve(f, by)
        await use_up(f, by, worker, 1)
        assert (await routed(f, by, BATCH)).chain == ("big", "other")
        state = (await fetch_fleet_snapshot(f.link, by)).fleet_state(BATCH).model("big")
        assert (state.blocked, state.limited.until, state.free) == (None, f.clock.now + 12, 0)

    fleet(story)


def test_the_jobs_that_wait_before_it_count_at_the_pace_of_the_limit(fleet):
    async def story(f):
        by = catalog(requests_per_minute=60)
        worker = await serve(f, by)
        await use_up(f, by, worker, 3)
        assert (await routed(f, by, INTERACTIVE)).chain == ("big", "other"), "free in a second"
        await f.enqueue(9, by.queue("big", INTERACTIVE))
        plan = await routed(f, by, INTERACTIVE)
        assert plan.chain == ("other", "big"), "nine jobs before it, one a second"

    fleet(story)


def test_interactive_jobs_of_a_limited_model_are_stranded_and_batch_jobs_are_not(fleet):
    async def story(f):
        by = catalog(requests_per_minute=5)
        worker = await serve(f, by)
        await use_up(f, by, worker, 1)
        for urgency in (INTERACTIVE, BATCH):
            await f.enqueue(1, by.queue("big", urgency))
        assert (await fetch_fleet_snapshot(f.link, by)).stranded_queues == (by.queue("big", INTERACTIVE),)

    fleet(story)


def test_a_limit_of_tokens_and_the_limits_of_other_jobs_are_named(fleet):
    async def story(f):
        by = catalog(tokens_per_minute=100_000, slots=4, reserved_interactive=1)
        worker = await serve(f, by)
        await f.accept("job-large", queue=by.queue("big", BATCH), prompt_tokens=40_000)
        f.clock.now += 90
        assert len((await worker.claim(9, 0)).deliveries) == 1
        snapshot = await fetch_fleet_snapshot(f.link, by)
        (sky,) = snapshot.backends["big"]
        assert sky.limited[0].detail == "its limit of 100,000 tokens a minute is reached, free in 37 s"
        assert sky.limited[1].detail == (
            "its limit of 75,000 tokens a minute for jobs that are not interactive is reached, free in 57 s"
        )
        assert sky.trouble == sky.limited[0].detail
        assert snapshot.fleet_state(BATCH).model("big").limited == sky.limited[1]

    fleet(story)


def test_a_backend_with_two_keys_is_at_its_limit_when_both_of_them_are(fleet):
    async def story(f):
        by = catalog(requests_per_minute=5, api_keys=["sk-one", "sk-two"])
        worker = await serve(f, by)
        await use_up(f, by, worker, 1)
        snapshot = await fetch_fleet_snapshot(f.link, by)
        assert snapshot.fleet_state(INTERACTIVE).model("big").limited is None
        assert snapshot.fleet_state(INTERACTIVE).model("big").seconds_per_call == 6
        first, _ = by.credentials("sky")
        await force_breaker(f.link, f"key:{first}", BreakerOverride(BreakerState.OPEN, "a test"), POLICY)
        await use_up(f, by, worker, 1)
        model = (await fetch_fleet_snapshot(f.link, by)).fleet_state(BATCH).model("big")
        assert (model.limited.until, model.seconds_per_call) == (f.clock.now + 12, 12)

    fleet(story)


def test_a_call_of_a_program_by_itself_counts_and_is_corrected_by_its_report(fleet):
    async def story(f):
        by = catalog(requests_per_minute=100, tokens_per_minute=6000, burst=0.5)
        charge = ChargedCall("", True, 3000)
        start = await start_external_call(f.link, by, "sky", "big", charge)
        assert (start.wait_seconds, start.charged) == (0, charge)
        assert (await start_external_call(f.link, by, "sky", "big", charge)).wait_seconds == 60
        call = ExternalCall(model="big", backend="sky", start=start, input_tokens=400, output_tokens=100)
        await report_external_call(f.link, by, call)
        assert (await start_external_call(f.link, by, "sky", "big", charge)).wait_seconds == 10
        start = await start_external_call(f.link, by, "far", "other", charge)
        assert (start.wait_seconds, start.charged) == (0, None)

    fleet(story)
