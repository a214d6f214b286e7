"""Probes of an open breaker, and breakers that an operator forces open or closed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.state.breakers import (
    BreakerOverride,
    ProbeResult,
    breaker_history,
    force_breaker,
    report_probe,
    reset_breaker,
)
from openfall.router_core.state.ledger import read_ledger
from openfall.router_core.state.settlement import MAX_BREAKER_HISTORY, CallReport
from openfall.router_core.state.worker_subscription import PROBE_GRACE_SECONDS
from openfall.router_core.vocabulary import CredentialSignal, ErrorClass
from tests.router_core.state.breaker_steps import (
    AT_BOX,
    BOX,
    CLOSED,
    FAILURE,
    HALF_OPEN,
    NEUTRAL,
    OK,
    OPEN,
    POLICY,
    breaker,
    healed,
    opened,
    probed,
)


def test_a_breaker_has_the_cause_of_its_last_failure_until_it_closes(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        assert (await breaker(f)).cause == "timeout"
        f.clock.now = (await breaker(f)).until
        (probe,) = (await worker.claim(0, 0)).probes
        assert (await breaker(f)).cause == "timeout", "while it is half open"
        failed = ProbeResult(FAILURE, "HTTP 529", 0.0, 0.5, ErrorClass.OVERLOADED, 529, "overloaded (HTTP 529)")
        await report_probe(f.link, probe, failed, POLICY)
        record = await breaker(f)
        assert (record.error, record.http_status, record.cause) == (ErrorClass.OVERLOADED, 529, "overloaded (HTTP 529)")
        await healed(f, worker)
        record = await breaker(f)
        assert (record.error, record.http_status, record.cause) == (None, None, "")

    fleet(story)


def test_a_breaker_that_a_probe_closed_without_a_call_opens_again_with_the_first_failed_one_for_longer(fleet):
    async def on_trial(f, worker):
        f.clock.now = (await breaker(f)).until
        for _ in range(POLICY.probe_successes):
            (probe,) = (await worker.claim(0, 0)).probes
            state = await report_probe(f.link, probe, ProbeResult(OK, "it is listed", 0.0, 0.5, on_trial=True), POLICY)
        assert state == CLOSED
        assert (await breaker(f)).why == "it is listed"

    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        first = (await breaker(f)).until - f.clock.now
        await on_trial(f, worker)
        await f.enqueue(1)
        (settled,) = await f.finish_calls(worker, FAILURE)
        assert settled.opened_breaker
        record = await breaker(f)
        assert record.why == "its first call on trial failed (timeout)"
        assert record.until - f.clock.now > 1.2 * first
        await on_trial(f, worker)
        await f.enqueue(2)
        assert not any(settled.opened_breaker for settled in await f.finish_calls(worker, OK))
        f.clock.now += POLICY.slow_start
        assert not any(settled.opened_breaker for settled in await f.finish_calls(worker, FAILURE))

    fleet(story)


def test_a_probe_is_handed_out_once_even_with_empty_queues(fleet):
    async def story(f):
        workers = [await f.start_worker(f"worker-{n}", AT_BOX) for n in range(5)]
        await opened(f, workers[0])
        f.clock.now += 29.999
        assert [(await worker.claim(4, 0)).probes for worker in workers] == [()] * 5, "it is not time yet"
        f.clock.now += 0.001
        claims = [await worker.claim(4, 0) for worker in workers]
        ((probe,),) = [claim.probes for claim in claims if claim.probes]
        assert (probe.target, probe.backend, probe.model) == (BOX, "box", "smol")
        assert (await breaker(f)).state == HALF_OPEN
        assert {claim.next_due_at for claim in claims[1:]} == {
            f.clock.now + AT_BOX.probe_timeout_seconds + PROBE_GRACE_SECONDS
        }, "its lease"

    fleet(story)


def test_a_worker_without_a_free_slot_probes_too(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await healed(f, worker)  # which claims nothing
        assert [change.after for change in await breaker_history(f.link)] == [CLOSED, HALF_OPEN, OPEN]

    fleet(story)


def test_a_lost_probe_is_handed_out_again_and_its_late_result_ignored(fleet):
    async def story(f):
        lost, heir = await f.start_worker("lost", AT_BOX), await f.start_worker("heir", AT_BOX)
        await opened(f, lost)
        f.clock.now += 30
        (probe,) = (await lost.claim(1, 0)).probes
        f.clock.now += AT_BOX.probe_timeout_seconds + PROBE_GRACE_SECONDS - 0.001
        assert (await heir.claim(1, 0)).probes == ()
        f.clock.now += 0.001
        (second,) = (await heir.claim(1, 0)).probes
        assert await probed(f, probe, FAILURE) == HALF_OPEN, "its lease has ended"
        assert await probed(f, second) == HALF_OPEN
        assert await probed(f, second) == HALF_OPEN, "the same answer twice is one"
        (third,) = (await lost.claim(1, 0)).probes
        assert await probed(f, third) == CLOSED

    fleet(story)


def test_a_neutral_probe_is_sent_again_when_a_429_allows_it(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        f.clock.now += 30
        (probe,) = (await worker.claim(1, 0)).probes
        assert await probed(f, probe, NEUTRAL, wait=7) == HALF_OPEN
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), f.clock.now + 7)
        f.clock.now += 7
        assert (await worker.claim(1, 0)).probes

    fleet(story)


def test_each_failed_probe_doubles_the_open_time_up_to_the_maximum(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        open_times = []
        for chance in (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0):
            f.clock.now = (await breaker(f)).until
            (probe,) = (await worker.claim(1, 0)).probes
            assert await probed(f, probe, FAILURE, chance=chance) == OPEN
            open_times.append((await breaker(f)).until - f.clock.now)
        assert open_times == [60, 120, 240, 480, 600, 600, 480, 720], "and a fifth less or more by chance"

    fleet(story)


def test_a_breaker_forced_open_is_neither_called_nor_probed_before_its_end(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(1)
        assert (
            await force_breaker(f.link, BOX, BreakerOverride(OPEN, "its card is being changed", 3600), POLICY) == OPEN
        )
        assert (
            await force_breaker(f.link, BOX, BreakerOverride(OPEN, "its card is being changed", 3600), POLICY) == OPEN
        ), "sent again"
        record = await breaker(f)
        assert (record.forced, record.forced_until, record.epoch) == ("open", f.clock.now + 3600, 1)
        f.clock.now += 3599
        assert ((claim := await worker.claim(1, 0)).deliveries, claim.probes) == ((), ())
        f.clock.now += 1
        assert (await worker.claim(1, 0)).probes, "it is probed"

    fleet(story)


def test_a_breaker_forced_open_without_an_end_stays_open_until_the_reset(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await force_breaker(f.link, BOX, BreakerOverride(OPEN, "sold"), POLICY)
        f.clock.now += 1e8
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), 0)
        assert (await breaker(f)).forced_until is None
        assert await reset_breaker(f.link, BOX, POLICY) == OPEN
        assert (await worker.claim(1, 0)).probes, "it is probed at once"

    fleet(story)


def test_a_breaker_forced_closed_is_called_despite_failures_until_its_end(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        assert await force_breaker(f.link, BOX, BreakerOverride(CLOSED, "a test", 60), POLICY) == CLOSED
        await f.enqueue(22)
        replies = await f.finish_calls(worker, *[FAILURE] * 20)
        assert not any(reply.opened_breaker for reply in replies)
        f.clock.now += 60
        assert (await f.finish_calls(worker, FAILURE))[0].opened_breaker

    fleet(story)


def test_only_the_last_changes_of_breakers_are_kept(fleet):
    async def story(f):
        for number in range(MAX_BREAKER_HISTORY + 1):
            state = OPEN if number % 2 == 0 else CLOSED
            await force_breaker(f.link, BOX, BreakerOverride(state, f"change {number}"), POLICY)
        assert f.store.llen("of:breaker-history") == MAX_BREAKER_HISTORY
        changes = await breaker_history(f.link, MAX_BREAKER_HISTORY + 1)
        assert (changes[0].why, changes[-1].why) == (f"change {MAX_BREAKER_HISTORY}", "change 1")

    fleet(story)


def test_a_probe_that_is_paid_for_is_in_the_ledger_even_when_another_one_was_handed_out_since(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        f.clock.now = (await breaker(f)).until
        (probe,) = (await worker.claim(0, 0)).probes
        attempt = Attempt(model="smol", backend="box", started_at=0, ended_at=1.5, input_tokens=9, cost_nusd=77)
        call = CallReport(
            attempt=attempt, group=None, signal=NEUTRAL, epoch="0", credential="", credential_epoch="0",
            credential_signal=CredentialSignal.FINE, cooldown_seconds=0.0, jitter=0.0,
        )  # fmt: skip
        for _ in range(2):  # the second report has no lease any more: it was paid for all the same
            await report_probe(f.link, probe, ProbeResult(OK, "", 0.0, 0.5), POLICY, call)
        day = f"{datetime.fromtimestamp(f.clock.now, UTC):%Y-%m-%d}"
        rows = [row for row in await read_ledger(f.link, [day]) if row.probes]
        assert [(row.model, row.backend, row.group, row.probes) for row in rows] == [("smol", "box", None, 2)]
        assert rows[0].usd == pytest.approx(154e-9)

    fleet(story)
