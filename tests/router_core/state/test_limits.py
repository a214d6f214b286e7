"""Limits of requests and tokens a minute: the claim counts them for the whole fleet, on the server's clock."""

from __future__ import annotations

import itertools

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.rate_limits import rates_for
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal, CredentialSignal, ErrorClass
from tests.router_core.state.breaker_steps import POLICY

INTERACTIVE, BATCH = "gpu.smol.interactive", "gpu.smol.batch"
OK = CallSignal.OK


def box(*, slots=40, keys=(), answer_tokens=0, reserved=0, **limits):
    spec = Backend(url="http://box", pool="gpu", slots=slots, reserved_interactive=reserved, **limits)
    return BackendCapacity("box", slots, keys, reserved, rates_for(spec), answer_tokens)


def queues(*backends):
    return [QueueSubscription(queue, backends) for queue in (INTERACTIVE, BATCH)]


async def start_times(f, workers, seconds, jobs=500):
    """When each call starts (seconds from now), if the workers claim as soon as a claim says that it makes sense."""
    await f.enqueue(jobs, BATCH)
    begin, starts = f.clock.now, []
    while f.clock.now < begin + seconds:
        for worker in itertools.cycle(workers):
            claim = await worker.claim(8, 0)
            starts += [f.clock.now - begin for _ in claim.deliveries]
            for delivery in claim.deliveries:
                await f.settle(worker, delivery)
            if len(claim.deliveries) < 8:
                break
        assert claim.next_due_at > f.clock.now, "an idle worker knows when it may claim again"
        assert not claim.more_waiting, "a limit is nothing to poll for"
        f.clock.now = claim.next_due_at
    return starts


@pytest.mark.parametrize("limit", [1, 5, 18, 60, 120])
@pytest.mark.parametrize("burst", [0.01, 0.05, 0.5])
def test_no_minute_of_the_fleet_has_more_calls_than_its_limit_nor_much_less(fleet, limit, burst):
    async def story(f):
        workers = [
            await f.start_worker(name, *queues(box(requests_per_minute=limit, burst=burst))) for name in ("wa", "wb")
        ]
        starts = await start_times(f, workers, 150)
        for begin in starts:
            assert sum(begin <= start < begin + 59.99 for start in starts) <= limit
        at_once = max(1, int(limit * burst))
        assert starts.count(0) == at_once, "the first second has the burst and no more"
        assert len(starts) >= (limit - at_once + 1) * 2.4

    fleet(story)


def test_a_limit_of_tokens_counts_the_prompt_and_the_limit_of_the_answer(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(tokens_per_minute=6000, burst=0.5, answer_tokens=500)))
        await f.accept("job-0000a", queue=BATCH, prompt_tokens=1000, answer_tokens=1500)
        await f.accept("job-0000b", queue=BATCH, prompt_tokens=500)
        await f.accept("job-0000c", queue=BATCH)
        claim = await worker.claim(8, 0)
        assert [delivery.charged_tokens for delivery in claim.deliveries] == [2500]
        assert claim.next_due_at == f.clock.now + 10, "500 of 1,000 tokens are missing, and it gets 50 a second"
        f.clock.now = claim.next_due_at
        assert [delivery.charged_tokens for delivery in (await worker.claim(8, 0)).deliveries] == [1000]

    fleet(story)


@pytest.mark.parametrize("sizes", [(100,), (900,), (3000,), (3000, 200, 4900, 50), (200, 200, 200, 2600)])
def test_no_minute_has_more_tokens_than_its_limit_nor_much_less(fleet, sizes):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(tokens_per_minute=10_000)))
        for number in range(350):
            await f.accept(f"job-{number:05}", queue=BATCH, prompt_tokens=sizes[number % len(sizes)])
        begin, starts = f.clock.now, []
        while f.clock.now < begin + 180:
            claim = await worker.claim(8, 0)
            starts += [(f.clock.now, delivery.charged_tokens) for delivery in claim.deliveries]
            for delivery in claim.deliveries:
                await f.settle(worker, delivery)
            f.clock.now = claim.next_due_at or f.clock.now
        # Calls of one size stay within the limit. Among others a large one may end a minute.
        excess = 0 if len(sizes) == 1 else max(sizes) - 500
        for first, _ in starts:
            assert sum(tokens for start, tokens in starts if first <= start < first + 59.99) <= 10_000 + excess
        assert sum(tokens for _, tokens in starts) >= 3 * (10_000 - max(500, *sizes)) * 0.8

    fleet(story)


def test_a_call_that_is_larger_than_a_minute_starts_alone_and_the_next_waits_a_minute(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(tokens_per_minute=1000)))
        for name in ("job-small", "job-large", "job-other"):
            await f.accept(name, queue=BATCH, prompt_tokens=20_000 if name == "job-large" else 50)
        assert [d.id for d in (await worker.claim(8, 0)).deliveries] == ["job-small"]
        f.clock.now = (await worker.claim(8, 0)).next_due_at
        claim = await worker.claim(8, 0)
        assert [d.id for d in claim.deliveries] == ["job-large"]
        assert 63 <= claim.next_due_at - f.clock.now < 64

    fleet(story)


async def settle_with(f, worker, delivery, input_tokens=None, output_tokens=None, error=None):
    attempt = Attempt(
        model="smol", backend="box", started_at=1, ended_at=2, error=error, input_tokens=input_tokens,
        output_tokens=output_tokens,
    )  # fmt: skip
    await f.finish_call(worker, delivery, OK, attempt=attempt)


@pytest.mark.parametrize(
    ("used", "seconds"),
    [
        pytest.param({"input_tokens": 900, "output_tokens": 100}, 0, id="fewer were used: the rest is given back"),
        pytest.param({"input_tokens": 3000, "output_tokens": 1000}, 30, id="more were used: they are charged"),
        pytest.param({}, 10, id="unknown: the estimate stays"),
        pytest.param({"error": ErrorClass.RATE_LIMITED}, 0, id="refused: none were used"),
        pytest.param({"error": ErrorClass.TIMEOUT}, 10, id="failed on the way: the estimate stays"),
    ],
)
def test_the_settle_corrects_the_estimate_by_what_the_provider_counted(fleet, used, seconds):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(tokens_per_minute=6000, burst=0.5)))
        await f.accept("job-0000a", queue=BATCH, prompt_tokens=3000)
        await f.accept("job-0000b", queue=BATCH, prompt_tokens=500)
        delivery = await f.claim(worker)
        await settle_with(f, worker, delivery, **used)
        claim = await worker.claim(8, 0)
        if seconds:
            assert (claim.deliveries, claim.next_due_at) == ((), f.clock.now + seconds)
        else:
            assert len(claim.deliveries) == 1

    fleet(story)


def test_a_job_that_is_put_back_without_a_call_gives_everything_back(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(requests_per_minute=10, tokens_per_minute=100)))
        await f.accept("job-0000a", queue=BATCH, prompt_tokens=5)
        delivery = await f.claim(worker)
        settlement = worker.settlement(delivery, DeliveryOutcome(next_step=None))
        assert (await worker.settle(settlement)).outcome == "settled"
        assert (await worker.settle(settlement)).outcome == "again", "and only once"
        assert (await f.claim(worker)).id == "job-0000a"
        assert float(f.store.hget("of:limits:box", " requests")) == f.clock.now * 1000 + 6000

    fleet(story)


def test_the_reserved_share_of_a_limit_is_for_interactive_jobs_alone(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(slots=40, reserved=20, requests_per_minute=40, burst=0.1)))
        await f.enqueue(99, BATCH)
        assert len((await worker.claim(40, 0)).deliveries) == 2, "of a burst of 4"
        await f.enqueue(99, INTERACTIVE)
        assert [d.queue for d in (await worker.claim(40, 0)).deliveries] == [INTERACTIVE] * 2
        starts = []
        for _ in range(600):
            f.clock.now += 0.1
            claim = await worker.claim(40, 0)
            starts += [d.queue for d in claim.deliveries]
            for delivery in claim.deliveries:
                await f.settle(worker, delivery)
        assert len(starts) <= 37
        assert starts.count(BATCH) <= 19

    fleet(story)


def test_the_batch_does_not_use_the_calls_that_are_reserved_for_interactive_jobs_that_come_later(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(slots=4, reserved=2, requests_per_minute=20)))
        await f.enqueue(99, BATCH)
        for _ in range(300):
            f.clock.now += 0.1
            for delivery in (await worker.claim(9, 0)).deliveries:
                await f.settle(worker, delivery)
        await f.enqueue(1, INTERACTIVE)
        assert [d.queue for d in (await worker.claim(9, 0)).deliveries][:1] == [INTERACTIVE], "at once"

    fleet(story)


def test_each_key_has_the_limit_and_the_calls_go_to_the_key_that_is_free(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(keys=("one", "two"), requests_per_minute=6)))
        await f.enqueue(9, BATCH)
        claim = await worker.claim(8, 0)
        assert [d.credential for d in claim.deliveries] == ["one", "two"]
        assert claim.next_due_at == f.clock.now + 10
        await f.finish_call(
            worker, claim.deliveries[0], CallSignal.NEUTRAL, credential="one", credential_signal=CredentialSignal.PARK
        )
        f.clock.now += 10
        assert [d.credential for d in (await worker.claim(8, 0)).deliveries] == ["two"]

    fleet(story)


def test_a_backend_at_its_limit_leaves_the_jobs_to_the_other_backend_of_the_model(fleet):
    async def story(f):
        tower = BackendCapacity("tower", 2)
        worker = await f.start_worker("wa", *queues(box(requests_per_minute=6), tower))
        await f.enqueue(9, BATCH)
        claim = await worker.claim(8, 0)
        assert sorted(d.backend for d in claim.deliveries) == ["box", "tower", "tower"]
        assert claim.next_due_at == f.clock.now + 10
        assert claim.more_waiting, "the other backend is full"

    fleet(story)


def test_a_probe_is_a_call_too_and_waits_for_the_limit(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(requests_per_minute=6)), policy=POLICY)
        await f.enqueue(1, BATCH)
        assert len((await worker.claim(1, 0)).deliveries) == 1
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        f.clock.now += 1
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), f.clock.now + 9)
        f.clock.now += 9
        assert len((await worker.claim(1, 0)).probes) == 1
        assert float(f.store.hget("of:limits:box", " requests")) == (f.clock.now + 10) * 1000

    fleet(story)


def test_a_suspect_waits_for_the_limit_and_is_charged_too(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(requests_per_minute=1)))
        await f.enqueue(1, BATCH)
        for _ in range(2):
            assert len((await worker.claim(1, 0)).deliveries) == 1
            await f.crash("wa", worker)
            await reap(f.link)
            await worker.beat([])
            assert (await worker.claim(1, 0)).deliveries == ()
            await f.pass_time(60)
        assert len((await worker.claim(1, 0)).deliveries) == 1
        assert f.counter("crashes") == 2
        assert float(f.store.hget("of:limits:box", " requests")) == (f.clock.now + 60) * 1000

    fleet(story)


def test_a_backend_without_limits_has_no_key_in_redis_and_the_record_no_tokens(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box()))
        (job_id,) = await f.enqueue(1, BATCH)
        delivery = await f.claim(worker)
        assert delivery.charged_tokens is None
        await f.settle(worker, delivery)
        assert not f.store.exists("of:limits:box", "of:last-keys")
        assert f.record_field(job_id, "tokens") is None

    fleet(story)
