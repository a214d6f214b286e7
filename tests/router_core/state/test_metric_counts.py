"""Counts of events for metrics, in Redis: fallbacks, waits, breakers, Open Fall, notifications."""

from __future__ import annotations

from dataclasses import replace

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.deciding.steps import Fall, Handoff
from openfall.router_core.degrading.degrade import DefaultFallback
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.delivery_counts import DeliveryEnd, count_delivery
from openfall.router_core.state.histogram_buckets import FIRST_TOKEN_BOUNDS, WAIT_BOUNDS
from openfall.router_core.state.metric_counts import fetch_metric_counts, read_histogram, read_metric_counts
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import BreakerState, ErrorClass, Fallback, HoldReason, Remedy, Urgency


def counted(f, step, **end):
    """The metrics that the end of a delivery of `smol` adds."""
    job = f.job(role="chat", urgency=Urgency.INTERACTIVE)
    return [row[:] for row in count_delivery(job, DeliveryEnd(model="smol", step=step, **end)).metrics]


def test_a_hand_off_after_a_failed_call_is_a_fallback_with_its_cause(fleet):
    async def story(f):
        await f.accept()
        delivery = await f.claim(worker := await f.worker())
        failed = f.attempt(delivery, ErrorClass.OVERLOADED)
        step = Handoff("large", at_front=False, kind=Fallback.OVERLOAD)
        outcome = DeliveryOutcome(next_step=step, call=f.call_report(failed, delivery), to_queue="gpu.large.background")
        await worker.settle(worker.settlement(delivery, outcome.counted(f.job(), "smol")))
        counts = await fetch_metric_counts(f.link)
        assert counts["fallback"] == {("smol", "large", "overloaded"): {"n": 1}}
        assert counted(f, step) == [["fallback smol large overload", "n", 1]], "without a call its kind is the cause"
        assert counted(f, replace(step, kind=None)) == [], "the next model of an ensemble"

    fleet(story)


def test_the_tokens_of_a_call_whose_job_goes_on_are_counted_for_its_model(fleet):
    async def story(f):
        await f.accept()
        delivery = await f.claim(await f.worker())
        refused = replace(f.attempt(delivery, ErrorClass.CONTENT_FILTER), input_tokens=41, output_tokens=5)
        step = Handoff("large", at_front=False, kind=Fallback.POLICY)
        ((labels, *cells),) = count_delivery(f.job(), DeliveryEnd(model="smol", step=step, attempt=refused)).jobs
        assert "smol" in labels
        assert {41, 5} <= set(cells)

    fleet(story)


def test_the_wait_and_the_first_token_of_an_answer_are_histograms(fleet):
    async def story(f):
        worker = await f.worker()
        for n, waited in enumerate((0.2, 3.0, 99999.0)):
            await f.accept(f"job-0000{n}")
            delivery = await f.claim(worker)
            attempt = f.attempt(delivery)
            result = Result(id=delivery.id, status=Status.ANSWERED, attempts=(attempt,), waited=waited, body={})
            call = f.call_report(attempt, delivery, first_token_seconds=0.4)
            outcome = DeliveryOutcome(next_step=result, call=call).counted(f.job(), "smol")
            await worker.settle(worker.settlement(delivery, outcome))
        counts = await fetch_metric_counts(f.link)
        waits = read_histogram(counts["wait"]["smol", "background"], WAIT_BOUNDS)
        assert dict(zip((*WAIT_BOUNDS, None), waits.buckets, strict=True)) | {0.25: 1, 5.0: 1, None: 1} == {
            **dict.fromkeys(WAIT_BOUNDS, 0), 0.25: 1, 5.0: 1, None: 1,
        }  # fmt: skip
        assert waits.seconds == 100002.2
        first = read_histogram(counts["first_token"]["smol", "box"], FIRST_TOKEN_BOUNDS)
        assert (sum(first.buckets), first.buckets[2], first.seconds) == (3, 3, 1.2)

    fleet(story)


def test_every_change_of_a_breaker_is_counted_and_no_key_is_a_label(fleet):
    async def story(f):
        for target in ("box/smol", "key:0a1b2c3d"):
            for state in (BreakerState.OPEN, BreakerState.CLOSED):
                await force_breaker(f.link, target, BreakerOverride(state, "a test", 60), BreakerPolicy())
        counts = await fetch_metric_counts(f.link)
        assert counts["breaker"] == {
            (backend, model, state): {"n": 1}
            for backend, model in (("box", "smol"), ("", ""))
            for state in ("open", "closed")
        }
        assert not [name for name in f.store.hkeys("of:metrics") if b"0a1b" in name]

    fleet(story)


def test_what_open_fall_does_is_counted_by_urgency_reason_and_remedy(fleet):
    async def story(f):
        held = Hold(reason=HoldReason.OUTAGE, detail="all away", by=Remedy.CANNED_REPLY)
        assert counted(f, held) == [["degraded interactive outage canned_reply", "n", 1]]
        assert counted(f, replace(held, by=None)) == [["degraded interactive outage hold", "n", 1]]
        default_fallback = DefaultFallback("large", at_front=True, why="x", reason=HoldReason.BUDGET)
        assert counted(f, default_fallback) == [["fallback smol large budget", "n", 1]]
        result = Result(id="j", status=Status.DEGRADED, degraded_by=Remedy.LAST_ANSWER)
        assert counted(f, result, fall_reason="outage") == [["degraded interactive outage last_answer", "n", 1]]

    fleet(story)


def test_a_replay_is_counted_by_its_origin(fleet):
    async def story(f):
        await f.accept()
        delivery = await f.claim(worker := await f.worker())
        await f.settle(worker, delivery, Fall(HoldReason.OUTAGE, "all away"))
        await f.degrade()
        await f.link.script("held_replay", {"id": delivery.id})
        assert (await fetch_metric_counts(f.link))["replayed"] == {("request",): {"n": 1}}

    fleet(story)


def test_hostile_names_make_no_more_than_4000_fields_and_the_rest_counts_as_other(fleet):
    async def story(f):
        f.store.hset("of:metrics", mapping={f"fallback a{n} b timeout n": 1 for n in range(4000)})
        for _ in range(2):
            override = BreakerOverride(BreakerState.OPEN, "a test", 60)
            await force_breaker(f.link, "a b/ü", override, BreakerPolicy())
            await force_breaker(f.link, "a b/ü", replace(override, state=BreakerState.CLOSED), BreakerPolicy())
        counts = await fetch_metric_counts(f.link)
        assert counts["breaker"] == {("other", "other", "other"): {"n": 4}}
        assert f.store.hlen("of:metrics") < 4010

    fleet(story)


def test_fields_of_a_newer_openfall_and_broken_ones_are_left_out():
    reply = [b"since", b"1", b"new a n", b"1", b"breaker", b"1", b"replayed release n", b"-1", b"wait a b 0.5", b"x"]
    counts = read_metric_counts(reply)
    assert counts["replayed"] == {("release",): {"n": 0}}
    assert counts["wait"] == {("a", "b"): {"0.5": 0}}
    assert counts["breaker"] == {}
