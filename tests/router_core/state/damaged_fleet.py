"""A fleet with something under every kind of key, everything that can be asked about it, and everything it does."""

from __future__ import annotations

import contextlib
import json

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool
from openfall.router_core.deciding.steps import Fall, Later
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import backend_reports, incidents, ledger, operator_switches, outbox, reap_and_sweep
from openfall.router_core.state.breakers import ProbeResult, breaker_history, list_breakers, report_probe
from openfall.router_core.state.errors import IdempotencyConflict, UnknownJob
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.held_jobs import ReleaseBudget, fetch_held_summary, list_held, release_held
from openfall.router_core.state.inbox import InboxReader, acknowledge
from openfall.router_core.state.job_events import read_events
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.ledger import ledger_day
from openfall.router_core.state.model_status import fetch_model_status, fetch_other_models
from openfall.router_core.state.outbox import NoticeRate, admit_notice, claim_entries, mark_dead
from openfall.router_core.state.reap_and_sweep import move, reap, sweep
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, backends_for
from openfall.router_core.vocabulary import CallSignal, ErrorClass, HoldReason, Urgency

TOWER = Backend(url="http://127.0.0.1:2", pool="gpu", slots=8)
LIMITED = Backend(url="http://127.0.0.1:1", pool="gpu", slots=64, requests_per_minute=6000, tokens_per_minute=10**9)
CATALOG = Catalog(
    pools={"gpu": Pool(local=True)},
    backends={"box": LIMITED, "tower": TOWER},
    models={
        "smol": ModelSpec(upstream="smol:1b", backends=("box",)),
        "large": ModelSpec(upstream="large:70b", backends=("tower",)),
    },
)
SMOL, LARGE, CHAT, DEGRADE = "gpu.smol.background", "gpu.large.background", "gpu.smol.interactive", "degrade"
RATE = NoticeRate(max_notices=5, interval_seconds=60, update_interval_seconds=1, notify_recovery=True)
CALLBACKS = {"inbox": "bot", "webhook": "http://127.0.0.1:9/", "reply_to": b'{"x":1}'}
WAITING = [f"wait-{producer}-{n}" for n in range(3) for producer in ("night", "bot")]
JOBS = [
    "held-00001", "later-00001", "fallen-0001", "done-00001", "suspect-001", "run-000001", *WAITING,
    *(f"fail-{n:05}" for n in range(3, 6)),
]  # fmt: skip


def _record(reason):
    record = {"reason": reason, "counts": ["u:background", "s:nothing"], "notify": ["discord"], "id": "x", "at": 1.0}
    return json.dumps({**record, "detail": ""}).encode()


async def build(f):
    """Returns the worker, the degrade worker and a delivery in flight."""
    drained = (
        QueueSubscription(queue, tuple(backends_for(CATALOG, queue.split(".")[1])), min_share=0.1)
        for queue in (CHAT, SMOL, LARGE)
    )
    worker = await f.start_worker("wa", *drained)
    degrader = await f.start_worker("degrader", QueueSubscription(DEGRADE, (BackendCapacity(DEGRADE, 8),)))
    for n in range(6):
        await f.accept(f"fail-{n:05}", queue=LARGE)
    await f.finish_calls(worker, CallSignal.OK, CallSignal.FAILURE, CallSignal.TRIP)
    await _fall(f, worker, "held-00001", has_deadline=False, **CALLBACKS)
    await _hold(degrader, await f.claim(degrader))
    await f.accept("later-00001", queue=SMOL)
    await f.settle(worker, await f.claim(worker), Later("smol", 5))
    await _fall(f, worker, "fallen-0001")
    await f.accept("done-00001", queue=SMOL, idempotency_key="once", **CALLBACKS)
    await f.settle(worker, await f.claim(worker))
    await _crash_twice(f, "suspect-001", worker, degrader)
    await f.accept("run-000001", queue=CHAT)
    running = await f.claim(worker)
    for job in WAITING:
        await f.accept(job, queue=SMOL, job={"producer": job.split("-")[1]})
    await _write_facts(f)
    await reap_and_sweep.audit(f.link)
    await sweep(f.link, clean=False)
    return worker, degrader, running


async def _fall(f, worker, job, **terms):
    await f.accept(job, queue=SMOL, **terms)
    await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))


async def _hold(degrader, delivery):
    """The degrade worker holds a job for the reason of its fall."""
    assert delivery.fall is not None
    models = ("large",) if delivery.fall.reason is HoldReason.OUTAGE else ()
    hold = Hold(reason=delivery.fall.reason, detail=delivery.fall.detail, models=models)
    reply = Result(id=delivery.id, status=Status.DEGRADED, detail="later")
    ending = DeliveryOutcome(next_step=hold, fall_record=_record(delivery.fall.reason), interim_reply=reply)
    await degrader.settle(degrader.settlement(delivery, ending))


async def _crash_twice(f, job, worker, degrader):
    await f.accept(job, queue=SMOL)
    for name in ("lost-a", "lost-b"):
        crashing = await f.start_worker(name, QueueSubscription(SMOL, tuple(backends_for(CATALOG, "smol"))))
        await crashing.claim(1, 0)
        await f.pass_time(11, (worker, ()), (degrader, ()))
        await reap(f.link)


async def _write_facts(f):
    """What other parts of a fleet write down."""
    now = f.clock.now
    await backend_reports.remember_loaded(f.link, "tower", ["large:70b"], now)
    await backend_reports.remember_health(f.link, "box/smol", {"at": now, "ok": True, "latency": 0.1, "detail": ""})
    await backend_reports.remember_load_error(f.link, "tower/large", "no room", now)
    await backend_reports.remember_other_models(f.link, "tower", {"other": True}, now)
    for entry in await claim_entries(f.link, 1):
        await mark_dead(f.link, entry, "h", "why")
    await claim_entries(f.link, 1)
    plain = {"status": "queued", "data": '["openfall.deliver",null,["done-00001"],{}]', "origin": SMOL}
    f.store.hset("rq:job:plain-0001", mapping=plain)
    f.store.rpush(f"rq:queue:{SMOL}", "plain-0001")
    f.store.sadd("of:paused", "gpu.other.batch")
    f.store.zadd("of:released:smol", {"held-00001": now * 1000})
    f.store.hset("of:release-window", "smol", 1)
    f.store.hset("of:credits:gpu", "background", 500)
    f.store.hset("of:last-keys", "box", "one")
    f.store.hset("of:blocked", "box/smol cool", int(now * 1000) + 1000)


async def look(f):
    """Everything that a person or a producer can ask."""
    await fetch_status(f.link)
    await fetch_fleet_snapshot(f.link, CATALOG)
    await fetch_model_status(f.link, CATALOG)
    await fetch_other_models(f.link, CATALOG)
    await list_breakers(f.link)
    await breaker_history(f.link)
    _ = [job.urgency async for job in list_held(f.link)]
    await fetch_held_summary(f.link)
    await incidents.open_incidents(f.link)
    _ = [fall async for fall in incidents.read_falls(f.link)]
    await outbox.list_dead_letters(f.link)
    await outbox.list_pending(f.link, 10)
    await ledger.read_ledger(f.link, [ledger_day(f.clock.now)])
    await operator_switches.local_only(f.link)
    await list_unreadable(f.link)
    for job in JOBS:
        with contextlib.suppress(UnknownJob):
            await f.job_store.record(job)
            await f.job_store.result(job)
            await f.job_store.interim_reply(job)
            await f.job_store.position(job)
        await read_events(f.link, job)
    async with InboxReader(f.link, "bot", "reader") as inbox:
        await inbox.heartbeat()
        for entry in await inbox.read_new(0.0):
            with contextlib.suppress(ValueError):
                _ = entry.result
            await acknowledge(f.link, "bot", entry)
        await inbox.claim_abandoned()


async def work(f, worker, degrader, running):
    """What the fleet does, until nothing is left to do."""
    await worker.append_events(running, b'{"event":"writing","at":1}')
    await f.settle(worker, running)
    with contextlib.suppress(IdempotencyConflict):
        await f.accept("new-000001", queue=SMOL, idempotency_key="once")
    await f.accept("new-000002", queue=SMOL)
    for number in range(12):
        await worker.beat([])
        await degrader.beat([])
        await _look_after(f)
        await _deliver(f, worker, degrader)
        await _notify(f)
        if number % 3 == 0:
            await incidents.close_incident(f.link, "outage", ("smol", "large"))
        await f.pass_time(6, (worker, ()), (degrader, ()))


async def _look_after(f):
    await reap(f.link)
    f.store.delete("of:lock:audit")  # it ends by the clock of the server, which this fleet does not have
    await reap_and_sweep.audit(f.link)
    _, waiting = await sweep(f.link, [LARGE], [SMOL], clean=True)
    for job in waiting:
        if job.cause in ("cancelled", "deleted", "overdue"):
            result = Result(id=job.id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=job.cause)
            with contextlib.suppress(UnknownJob):
                await end_job(f.link, result, rq_status="canceled", expected_deliveries=job.deliveries)
        elif job.queue not in (SMOL, LARGE, CHAT, DEGRADE):
            await move(f.link, job, Later("smol", 0.001), SMOL)
    await release_held(f.link, [ReleaseBudget("large", "gpu", 8, tuple(Urgency))], 8)


async def _deliver(f, worker, degrader):
    claim = await worker.claim(8, 0)
    for probe in claim.probes:
        await report_probe(f.link, probe, ProbeResult(CallSignal.OK, "", 0.0, 0.5), CATALOG.breakers)
    for rq_job in claim.rq_jobs:
        await worker.adopt_rq_job(rq_job, "done-00001", "", 60)
    for delivery in claim.deliveries:
        assert await f.settle(worker, delivery) in ("settled", "late", "gone")
    for delivery in (await degrader.claim(8, 0)).deliveries:
        await _hold(degrader, delivery)


async def _notify(f):
    for entry in await claim_entries(f.link, 8):
        if isinstance(entry.subject, outbox.NoticeEntry):
            admission = await admit_notice(f.link, entry, RATE)
            if admission is not None:
                await outbox.record_notified(f.link, entry, admission, "m", 1.0)
        elif entry.subject is not None:
            with contextlib.suppress(ValueError):
                await outbox.read_notification(f.link, entry.subject)
            await outbox.is_forgotten(f.link, entry.subject)
            await outbox.mark_delivered(f.link, entry)
