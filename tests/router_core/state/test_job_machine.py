"""The scripts of jobs against a plain Python model of them: any order of events, the clock set by the test."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import starmap

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
)

from openfall.router_core.deciding.steps import Fall, Handoff, Later
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held, replay_held
from openfall.router_core.state.jobs import JobStore, SubmitTerms, end_job
from openfall.router_core.state.reap_and_sweep import reap, sweep
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, HoldReason, Urgency
from tests.router_core.state.job_invariants import JobInvariants
from tests.router_core.state.reference_model import (
    DEGRADE,
    LARGE,
    RELEASED_AT_ONCE,
    SERVED,
    SLOTS,
    SMOL,
    VERBS,
    WORKERS,
    Job,
    Model,
)
from tests.router_core.state.script_machine import run_machine


class JobMachine(JobInvariants):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(float(int(time.time())))
        self.job_store = JobStore(self.link)
        self.delivered: list[
            tuple[str, Delivery]
        ] = []  # every delivery that was ever made, with the worker that claimed it
        self.drained: dict[str, str] = defaultdict(str)

    def server_time(self) -> float:
        return self.model.now

    @initialize()
    def start_workers(self) -> None:
        for name, queues in WORKERS.items():
            pool = queues[0].partition(".")[0]
            self.do(register(self.link, WorkerIdentity(name, pool, queues, tuple(SLOTS))))
            drained = [
                QueueSubscription(queue, tuple(starmap(BackendCapacity, SERVED[queue].items()))) for queue in queues
            ]
            self.workers[name] = WorkerQueue(self.link, WorkerIdentity(name, pool, (), ()), drained)
        for queue in (SMOL, SMOL, LARGE):
            self.accept(queue, 600, "ann")
        self.pass_time(1, set(WORKERS))

    def job(self, number: int, producer: str) -> CompletionJob:
        body = {"messages": [{"role": "user", "content": f"number {number}"}]}
        return CompletionJob(id=f"job-{number:05}", producer=producer, chain=("smol", "large"), body=body)

    @rule(
        queue=st.sampled_from([SMOL, LARGE]),
        give_up=st.sampled_from([15, 600]),
        producer=st.sampled_from(["ann", "ann", "bob", "Ç/~.:"]),
    )
    def accept(self, queue: str, give_up: int, producer: str) -> None:
        job = self.job(len(self.model.jobs), producer)
        accepted = self.do(
            self.job_store.accept(job, SubmitTerms(queue=queue, expires_after_seconds=give_up, keep_seconds=900))
        )
        self.model.jobs[job.id] = Job(queue, self.model.now + give_up, accepted=self.model.now)
        assert accepted.position == self.model.lists[queue].next_position(producer)
        self.model.producer_of[job.id] = producer
        self.model.lists[queue].append(job.id)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def accept_again(self, data) -> None:
        number = data.draw(st.integers(0, len(self.model.jobs) - 1))
        job = self.job(number, self.model.producer_of[f"job-{number:05}"])
        accepted = self.do(
            self.job_store.accept(job, SubmitTerms(queue=SMOL, expires_after_seconds=9, keep_seconds=900))
        )
        assert accepted.deadline == self.model.jobs[accepted.id].deadline

    @rule(name=st.sampled_from(sorted(WORKERS)), want=st.integers(1, 3))
    def claim_when_idle(self, name: str, want: int) -> None:
        self.claim(name, want, 0)

    @rule(name=st.sampled_from(sorted(WORKERS)), want=st.integers(1, 3), busy=st.sampled_from([0, 0, 0, 1]))
    def claim(self, name: str, want: int, busy: int) -> None:
        claim = self.do(self.workers[name].claim(want, busy, self.drained[name]))
        taken, suspect = self.model.claim(want, busy, WORKERS[name], self.drained[name])
        assert ([delivery.id for delivery in claim.deliveries], claim.suspect) == (taken, suspect)
        self.drained[name] = claim.suspect if busy else ""
        for delivery in claim.deliveries:
            job = self.model.jobs[delivery.id]
            leases = self.model.leases[job.backend]
            leases[delivery.id, delivery.token] = leases.pop((delivery.id, "?"))
            job.token, job.worker = delivery.token, name
            assert (delivery.backend, delivery.deliveries) == (job.backend, job.deliveries)
            self.delivered.append((name, delivery))

    @precondition(lambda self: self.delivered)
    @rule(back=st.integers(1, 6), verb=st.sampled_from(VERBS), to_queue=st.sampled_from([SMOL, LARGE]))
    def settle_any(self, back: int, verb: str, to_queue: str) -> None:
        """One of the last deliveries, which may be lost or settled already."""
        self.settle(*self.delivered[-min(back, len(self.delivered))], verb, to_queue)

    @rule(name=st.sampled_from(sorted(WORKERS)), verb=st.sampled_from(VERBS), to_queue=st.sampled_from([SMOL, LARGE]))
    def carry_out(self, name: str, verb: str, to_queue: str) -> None:
        before = len(self.delivered)
        self.claim(name, 1, 0)
        if len(self.delivered) > before:
            self.settle(*self.delivered[-1], verb, to_queue)

    def settle(self, name: str, delivery, verb: str, to_queue: str) -> None:
        if delivery.queue == DEGRADE and verb in ("fall", "later"):
            verb = "hold"
        attempt = Attempt(model="smol", backend=delivery.backend, started_at=1, ended_at=2, error=ErrorClass.TIMEOUT)
        ended = {
            "answer": Result(id=delivery.id, status=Status.ANSWERED, detail=delivery.token),
            "fail": Result(id=delivery.id, status=Status.FAILED, error=ErrorClass.BAD_REQUEST, detail=delivery.token),
        }
        next_ = {
            **ended,
            "queue": Handoff("large", False),
            "later": Later("smol", 3),
            "fall": Fall(HoldReason.OUTAGE, "down"),
            "hold": Hold(reason=HoldReason.OUTAGE, detail="down", models=("smol", "large")),
            "back": None,
        }[verb]
        call = None if verb == "back" else self.call(attempt, delivery)
        settle = self.workers[name].settlement(delivery, DeliveryOutcome(next_step=next_, call=call, to_queue=to_queue))
        outcome = self.do(self.workers[name].settle(settle)).outcome
        assert outcome == self.model.fence(delivery.id, delivery.token, "done" if verb in ended else verb)
        if outcome == "settled":
            self._settled(delivery, verb, to_queue)

    def call(self, attempt: Attempt, delivery) -> CallReport:
        """A call that no breaker counts: breakers have a machine of their own."""
        return CallReport(
            attempt=attempt, group=None, signal=CallSignal.NEUTRAL, epoch=delivery.epoch, credential="",
            credential_signal=CredentialSignal.FINE, credential_epoch="0",
            cooldown_seconds=0.0, jitter=0.5,
        )  # fmt: skip

    def _settled(self, delivery, verb: str, to_queue: str) -> None:
        model, job = self.model, self.model.jobs[delivery.id]
        if verb in ("answer", "fail"):
            queue = model.ending_queue(job, delivery.token)
            model.finish(delivery.id, {"answer": "answered", "fail": "failed"}[verb], queue, delivery.token)
            return
        model.leave(delivery.id)
        model.record_settle(job, delivery.token)
        if verb == "queue":
            job.state, job.queue = "queued", to_queue
            model.unrelease(job)
            model.lists[to_queue].append(delivery.id)
        elif verb == "later":
            job.state, job.queue = "scheduled", to_queue
            model.due[delivery.id] = model.now + 3
        elif verb == "fall":
            model.fall(delivery.id)
        elif verb == "hold":
            job.state = "held"
        else:
            job.state = "queued"
            job.deliveries -= 1
            model.lists[job.queue].insert_first(delivery.id)

    @rule(seconds=st.sampled_from([1, 3, 3, 3, 30]), alive=st.sets(st.sampled_from(sorted(WORKERS)), min_size=1))
    def pass_time(self, seconds: int, alive: set[str]) -> None:
        """Time passes, and these workers beat for their deliveries. The others may be dead."""
        self.model.now += seconds
        for name in sorted(alive):
            held = [d for owner, d in self.delivered if owner == name and self.model.jobs[d.id].token == d.token]
            held = [d for d in held if self.model.jobs[d.id].state == "started"][:2]
            lost = self.do(self.workers[name].beat(held)).lost
            assert lost == self.model.beat(name, [(d.id, d.token, d.backend) for d in held])

    @rule(rounds=st.integers(4, 5), alive=st.sampled_from(sorted(WORKERS)))
    def one_worker_survives(self, rounds: int, alive: str) -> None:
        """One worker beats. The others die: their leases and their presence end."""
        for _ in range(rounds):
            self.pass_time(3, {alive})
        self.reap()

    @rule()
    def reap(self) -> None:
        moves = {job_id: place for job_id, _, place in self.do(reap(self.link))}
        assert moves == self.model.reap()
        lists = self.queue_lists()
        for queue, waiting in self.model.lists.items():  # the model does not define which backend is reaped first
            counts = waiting.counts()
            waiting.listed, waiting.backlogs = self.waiting_in(queue, lists)
            assert waiting.counts() == counts

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.jobs)))
        job = self.model.jobs[job_id]
        assert self.do(self.job_store.cancel(job_id)) == (job.state != "done")
        if job.state != "done":
            self.model.finish(job_id, "cancelled", job.queue)

    @rule(clean=st.booleans())
    def sweep(self, clean: bool) -> None:
        _, swept = self.do(sweep(self.link, clean=clean))
        overdue = {
            i for i, j in self.model.jobs.items() if j.state not in ("done", "started") and j.deadline <= self.model.now
        }
        assert {late.id for late in swept if late.cause == "overdue"} == overdue
        for late in (late for late in swept if late.cause == "overdue"):
            result = Result(id=late.id, status=Status.EXPIRED, error=ErrorClass.TIMEOUT)
            assert self.do(end_job(self.link, result, rq_status="failed", expected_deliveries=late.deliveries))
            job = self.model.jobs[late.id]
            self.model.finish(late.id, "expired", job.queue)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def replay(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.jobs)))
        job = self.model.jobs[job_id]
        if job.state == "held":
            self.model.requeue_held(job, job.fell_from)
            job.crashes = job.crashes_alone = 0
            self.model.lists[job.queue].insert_first(job_id)
        assert self.do(replay_held(self.link, job_id)) == job.state

    @rule(alias=st.sampled_from(["smol", "large"]))
    def release(self, alias: str) -> None:
        offer = ReleaseBudget(alias, "gpu", RELEASED_AT_ONCE, tuple(Urgency))
        assert [job_id for job_id, _ in self.do(release_held(self.link, [offer], 1))][::-1] == self.model.release(alias)

    @rule()
    def hold_fallen_jobs(self) -> None:
        for _ in range(2):
            self.carry_out("wd", "hold", SMOL)

    @rule(queue=st.sampled_from([SMOL, LARGE]), names=st.permutations(sorted(WORKERS)))
    def claim_while_paused(self, queue: str, names: list[str]) -> None:
        self.model.paused = {queue}
        self.store.sadd("of:paused", queue)
        for name in names[:2]:
            self.claim(name, 2, 0)
        self.model.paused = set()
        self.store.delete("of:paused")

    @rule(name=st.sampled_from(sorted(WORKERS)))
    def claim_while_suspended_with_rq(self, name: str) -> None:
        self.model.suspended = True
        self.store.set("rq:suspended", 1)
        self.claim(name, 3, 0)
        self.model.suspended = False
        self.store.delete("rq:suspended")

    @rule(crashes=st.integers(2, 5))
    def crash_workers_one_after_another(self, crashes: int) -> None:
        """Crashes make a job a suspect, which then runs alone."""
        for name in ("wa", "wb") * 3:
            if crashes:
                self.claim(name, 1, 0)
                self.one_worker_survives(5, "wc")
            crashes = max(0, crashes - 1)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [pytest.param(40, id="in short runs"), pytest.param(120, id="in long runs")])
def test_the_scripts_do_what_the_model_does(redis_url, steps):
    run_machine(JobMachine, redis_url, steps=steps, total_steps=1600)
