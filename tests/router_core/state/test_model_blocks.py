"""Why a model cannot be called now, and until when: workers, pauses, breakers, keys, cooldowns, health checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.state.backend_reports import HEALTH_TTL_SECONDS, remember_health, remembered_health
from openfall.router_core.state.breakers import BreakerOverride, ProbeResult, force_breaker, list_breakers, report_probe
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import BlockReason, BreakerState, CredentialSignal, ErrorClass, HoldReason
from tests.router_core.state.snapshot_steps import (
    BACKGROUND,
    BATCH,
    CATALOG,
    FAILURE,
    INTERACTIVE,
    KEY,
    NEUTRAL,
    OK,
    POLICY,
    blocked,
    serve,
    serve_all,
    state,
)


def test_a_queue_without_a_live_worker_is_not_served(fleet):
    async def story(f):
        await serve(f, "gpu", "smol", urgencies=(BACKGROUND,))
        assert await blocked(f) is None
        no_worker = (BlockReason.NO_WORKER, FOREVER, "no live worker serves its queue")
        assert [await blocked(f, "large"), await blocked(f, "smol", BATCH)] == [no_worker, no_worker]
        f.clock.now += 11  # its worker does not beat
        assert await blocked(f) == no_worker

    fleet(story)


def test_a_queue_is_paused_for_one_urgency(fleet):
    async def story(f):
        await serve_all(f)
        f.store.sadd("of:paused", "gpu.smol.background")
        assert await blocked(f) == (BlockReason.PAUSED, FOREVER, "queue gpu.smol.background is paused")
        assert await blocked(f, urgency=INTERACTIVE) is None

    fleet(story)


@pytest.mark.parametrize("by", ["switch", "catalog"])
def test_local_only_blocks_every_pool_that_is_not_local(fleet, by):
    async def story(f):
        await serve_all(f)
        catalog = CATALOG
        if by == "switch":
            await set_local_only(f.link, True)
        else:
            catalog = CATALOG.model_copy(update={"local_only": True})
        fleet_state = (await fetch_fleet_snapshot(f.link, catalog)).fleet_state(BATCH)
        assert fleet_state.local_only
        assert fleet_state.model("far").blocked.reason is BlockReason.LOCAL_ONLY
        assert fleet_state.model("smol").blocked is None

    fleet(story)


def test_an_open_breaker_blocks_with_its_reason_until_its_probe(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(5, "gpu.large.background")
        await f.finish_calls(worker, *[FAILURE] * 5)
        because, probed = "after 5 failures in a row (timeout)", "half open until a probe is answered (timeout)"
        assert await blocked(f, "large") == (BlockReason.BREAKER, 30, f"its breaker is open {because}")
        f.clock.now += 30
        await worker.beat([])
        reason, seconds, detail = await blocked(f, "large")
        assert (reason, seconds > 0, detail) == (BlockReason.BREAKER, True, f"its breaker is {probed}")
        (probe,) = (await worker.claim(1, 0)).probes
        assert (await blocked(f, "large"))[2] == f"its breaker is {probed}"
        await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        (probe,) = (await worker.claim(1, 0)).probes
        await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        assert await blocked(f, "large") is None, "though its slots come back one by one"

    fleet(story)


def test_a_breaker_forced_open_without_an_end_blocks_for_ever(fleet):
    async def story(f):
        await serve_all(f)
        await force_breaker(f.link, "tower/large", BreakerOverride(BreakerState.OPEN, "sold"), POLICY)
        assert await blocked(f, "large") == (
            BlockReason.BREAKER,
            FOREVER,
            "its breaker is kept open by an operator (sold)",
        )

    fleet(story)


def test_a_model_at_two_backends_is_blocked_when_both_are_and_until_the_first_opens(fleet):
    async def story(f):
        await serve_all(f)
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "hot", 60), POLICY)
        assert ((await state(f)).blocked, (await state(f)).free) == (None, 2), "the slots of the other one"
        await force_breaker(f.link, "tower/smol", BreakerOverride(BreakerState.OPEN, "hotter", 20), POLICY)
        assert await blocked(f) == (BlockReason.BREAKER, 20, "its breaker is kept open by an operator (hotter)")
        assert (await state(f)).free == 0
        assert await blocked(f, "large") is None, "another model there has a breaker of its own"

    fleet(story)


def test_a_parked_key_and_a_cooldown_block_for_their_own_reasons(fleet):
    async def story(f):
        _, worker = await serve_all(f)
        await f.enqueue(2, "cloud.far.background")
        more = {"credential": KEY, "cooldown_seconds": 9.0}
        await f.finish_calls(worker, NEUTRAL, credential_signal=CredentialSignal.COOLDOWN, **more)
        assert await blocked(f, "far") == (BlockReason.COOLDOWN, 9, "it cools down after timeout")
        f.clock.now += 9
        assert await blocked(f, "far") is None
        await f.finish_calls(worker, NEUTRAL, credential_signal=CredentialSignal.PARK, **more)
        reason, seconds, detail = await blocked(f, "far")
        assert (reason, seconds) == (BlockReason.CREDENTIAL, 30)
        assert detail.startswith("the key of east is parked after a failure that does not pass by itself")
        await force_breaker(f.link, "east/far", BreakerOverride(BreakerState.OPEN, "a test", 5), POLICY)
        assert await blocked(f, "far") == (
            BlockReason.BREAKER,
            5,
            "its breaker is kept open by an operator (a test)",
        )
        assert "secret" not in str(f.dump())

    fleet(story)


def test_a_block_has_the_class_and_the_cause_of_the_failure_behind_it(fleet):
    async def story(f):
        _, worker = await serve_all(f)
        await f.enqueue(1, "cloud.far.background")
        delivery = await f.claim(worker)
        attempt = replace(f.attempt(delivery, ErrorClass.AUTH), http_status=401)
        call = f.call_report(attempt, delivery, credential=KEY, credential_signal=CredentialSignal.PARK)
        step = Fall(HoldReason.OUTAGE, "no key")
        await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=step, call=call)))
        block = (await state(f, "far")).blocked
        assert (block.reason, block.error_class, block.cause_text) == (
            BlockReason.CREDENTIAL, ErrorClass.AUTH, "auth (HTTP 401)"
        )  # fmt: skip
        await force_breaker(f.link, "east/far", BreakerOverride(BreakerState.OPEN, "a test", 5), POLICY)
        block = (await state(f, "far")).blocked
        assert (block.failure, block.error_class, block.cause_text) == (None, ErrorClass.OTHER, "forced open")
        health = {
            "at": f.clock.now,
            "ok": False,
            "detail": "busy",
            "error": "overloaded",
            "cause": "overloaded (HTTP 503)",
        }
        await remember_health(f.link, "tower/large", health)
        block = (await state(f, "large")).blocked
        assert (block.error_class, block.cause_text) == (ErrorClass.OVERLOADED, "overloaded (HTTP 503)")

    fleet(story)


def test_a_failed_health_check_counts_while_it_is_fresh(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        health = {"at": f.clock.now, "ok": False, "how": "prompt", "latency": 1.0, "detail": "it answered 'potato'"}
        await remember_health(f.link, "tower/large", health)
        await remember_health(f.link, "tower/smol", {**health, "ok": True})
        words = "its health check failed (it answered 'potato')"
        assert await blocked(f, "large") == (BlockReason.UNHEALTHY, HEALTH_TTL_SECONDS, words)
        assert await blocked(f) is None
        assert (await remembered_health(f.link))["tower/large"]["how"] == "prompt"
        f.clock.now += HEALTH_TTL_SECONDS + 1
        await worker.beat([])
        assert await blocked(f, "large") is None

    fleet(story)


def test_blocks_of_unknown_targets_do_no_harm(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        for target in ("sold/smol", "key:0123456789", "box/removed"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        f.clock.now += 3600
        await worker.beat([])
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), 0)
        assert await blocked(f) is None
        assert len(await list_breakers(f.link)) == 3, "they are listed until an operator closes them"
        for target in ("sold/smol", "key:0123456789", "box/removed"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.CLOSED, "it is gone"), POLICY)
        assert f.store.hlen("of:blocked") == 0

    fleet(story)
