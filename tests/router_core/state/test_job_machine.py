"""The scripts against a plain Python model of them: any order of events, time in the test's hands."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import starmap

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openfall.router_core.deciding.decide import Fall, Handoff, Later
from openfall.router_core.degrading.degrade import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held, replay_held
from openfall.router_core.state.jobs import JobStore, SubmitTerms, end_job
from openfall.router_core.state.maintenance import reap, sweep
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, HoldReason, Urgency
from tests.router_core.state.reference_model import (
    DEGRADE,
    KINDS,
    LARGE,
    RELEASED_AT_ONCE,
    RQ_END,
    RQ_STATUS,
    SERVED,
    SLOTS,
    SMOL,
    VERBS,
    WORKERS,
    Job,
    Model,
)


class Machine(RuleBasedStateMachine):
    """Every rule does one thing on the server and in the model, and compares what each of them said."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.store = redis.Redis.from_url(self.url)
        self.store.flushall()
        self.loop = asyncio.new_event_loop()
        self.model = Model(float(int(time.time())))
        self.link = RedisConnection(self.url, clock=lambda: self.model.now)
        self.job_store = JobStore(self.link)
        self.given: list[tuple[str, object]] = []  # every delivery ever made, and who got it
        self.results: dict[str, bytes] = {}
        self.drained: dict[str, str] = defaultdict(str)
        self.workers: dict[str, WorkerQueue] = {}

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.do(self.link.close())
        self.loop.close()
        self.store.close()

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
            self.accept(queue, 600)
        self.pass_time(1, set(WORKERS))

    def job(self, number: int) -> CompletionJob:
        body = {"messages": [{"role": "user", "content": f"number {number}"}]}
        return CompletionJob(id=f"job-{number:05}", producer="tests", chain=("smol", "large"), body=body)

    @rule(queue=st.sampled_from([SMOL, LARGE]), give_up=st.sampled_from([15, 600]))
    def accept(self, queue: str, give_up: int) -> None:
        job = self.job(len(self.model.jobs))
        accepted = self.do(
            self.job_store.accept(job, SubmitTerms(queue=queue, expires_after_seconds=give_up, keep_seconds=900))
        )
        self.model.jobs[job.id] = Job(queue, self.model.now + give_up, accepted=self.model.now)
        self.model.lists[queue].append(job.id)
        assert accepted.position == len(self.model.lists[queue])

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def accept_again(self, data) -> None:
        number = data.draw(st.integers(0, len(self.model.jobs) - 1))
        accepted = self.do(
            self.job_store.accept(self.job(number), SubmitTerms(queue=SMOL, expires_after_seconds=9, keep_seconds=900))
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
            self.given.append((name, delivery))

    @precondition(lambda self: self.given)
    @rule(back=st.integers(1, 6), verb=st.sampled_from(VERBS), to_queue=st.sampled_from([SMOL, LARGE]))
    def settle_any(self, back: int, verb: str, to_queue: str) -> None:
        """A delivery of long ago, perhaps, or one that was settled before."""
        self.settle(*self.given[-min(back, len(self.given))], verb, to_queue)

    @rule(name=st.sampled_from(sorted(WORKERS)), verb=st.sampled_from(VERBS), to_queue=st.sampled_from([SMOL, LARGE]))
    def carry_out(self, name: str, verb: str, to_queue: str) -> None:
        before = len(self.given)
        self.claim(name, 1, 0)
        if len(self.given) > before:
            self.settle(*self.given[-1], verb, to_queue)

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
        arrival = self.do(self.workers[name].settle(settle)).outcome
        assert arrival == self.model.fence(delivery.id, delivery.token, "done" if verb in ended else verb)
        if arrival == "settled":
            self._settled(delivery, verb, to_queue)

    def call(self, attempt: Attempt, delivery) -> CallReport:
        """A call that says nothing of any breaker: those have a machine of their own."""
        return CallReport(
            attempt=attempt, group=None, signal=CallSignal.NEUTRAL, epoch=delivery.epoch, credential="",
            credential_signal=CredentialSignal.FINE, credential_epoch="0", is_retry=False,
            cooldown_seconds=0.0, jitter=0.5,
        )  # fmt: skip

    def _settled(self, delivery, verb: str, to_queue: str) -> None:
        model, job = self.model, self.model.jobs[delivery.id]
        if verb in ("answer", "fail"):
            model.finish(delivery.id, {"answer": "answered", "fail": "failed"}[verb], job.queue, delivery.token)
            return
        model.leave(delivery.id)
        model.hear(job, delivery.token)
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
            model.lists[job.queue].insert(0, delivery.id)

    @rule(seconds=st.sampled_from([1, 3, 3, 3, 30]), alive=st.sets(st.sampled_from(sorted(WORKERS)), min_size=1))
    def pass_time(self, seconds: int, alive: set[str]) -> None:
        """Time passes, and these workers beat for what they hold; those who do not may be dead."""
        self.model.now += seconds
        for name in sorted(alive):
            held = [d for owner, d in self.given if owner == name and self.model.jobs[d.id].token == d.token]
            held = [d for d in held if self.model.jobs[d.id].state == "started"][:2]
            _, lost = self.do(self.workers[name].beat(held))
            assert lost == self.model.beat(name, [(d.id, d.token, d.backend) for d in held])

    @rule(rounds=st.integers(4, 5), alive=st.sampled_from(sorted(WORKERS)))
    def one_lives(self, rounds: int, alive: str) -> None:
        """The others die: their leases and their presence end."""
        for _ in range(rounds):
            self.pass_time(3, {alive})
        self.reap()

    @rule()
    def reap(self) -> None:
        arrival = {job_id: what for job_id, _, what in self.do(reap(self.link))}
        assert arrival == self.model.reap()
        for queue, listed in self.model.lists.items():  # which backend is reaped first is the server's affair
            readout = [job_id.decode() for job_id in self.store.lrange("rq:queue:" + queue, 0, -1)]
            assert sorted(readout) == sorted(listed)
            self.model.lists[queue] = readout

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
        _, readout = self.do(sweep(self.link, clean=clean))
        overdue = {
            i for i, j in self.model.jobs.items() if j.state not in ("done", "started") and j.deadline <= self.model.now
        }
        assert {late.id for late in readout if late.cause == "overdue"} == overdue
        for late in (late for late in readout if late.cause == "overdue"):
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
            job.state, job.token, job.crashes, job.queue = "queued", "", 0, job.fell_from
            self.model.lists[job.queue].insert(0, job_id)
        assert self.do(replay_held(self.link, job_id)) == job.state

    @rule(alias=st.sampled_from(["smol", "large"]))
    def release(self, alias: str) -> None:
        offer = ReleaseBudget(alias, "gpu", RELEASED_AT_ONCE, tuple(Urgency))
        assert [job_id for job_id, _ in self.do(release_held(self.link, [offer], 1))][::-1] == self.model.release(alias)

    @rule()
    def what_fell_is_held(self) -> None:
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

    @rule(crashes=st.integers(2, 3))
    def crash_workers_one_after_another(self, crashes: int) -> None:
        """What makes suspects, and what condemns them."""
        for name in ("wa", "wb") * 2:
            if crashes:
                self.claim(name, 1, 0)
                self.one_lives(5, "wc")
            crashes = max(0, crashes - 1)

    @invariant()
    def each_job_is_in_exactly_one_place_and_all_agree_where(self) -> None:
        readout = self._places()
        expected: dict[str, list[tuple[str, str]]] = {}
        for job_id, job in self.model.jobs.items():
            expected[job_id] = {
                "queued": [("queue", job.queue)],
                "scheduled": [("scheduled", job.queue)],
                "started": [("wip", job.queue)],
                "held": [("deferred", job.queue)],
                "done": [(RQ_END.get(job.status, ("", ""))[1], job.ended_in)],
            }[job.state]
        assert readout == expected
        for queue, listed in self.model.lists.items():
            assert [job_id.decode() for job_id in self.store.lrange("rq:queue:" + queue, 0, -1)] == listed

    def _places(self) -> dict[str, list[tuple[str, str]]]:
        pipe = self.store.pipeline(transaction=False)
        for queue in (SMOL, LARGE, DEGRADE):
            pipe.lrange("rq:queue:" + queue, 0, -1)
            for kind in KINDS:
                pipe.zrange(f"rq:{kind}:{queue}", 0, -1)
        names = [(kind, queue) for queue in (SMOL, LARGE, DEGRADE) for kind in ("queue", *KINDS)]
        readout: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, members in zip(names, pipe.execute(), strict=True):
            for member in members:
                readout[member.decode().split(":")[0]].append(name)
        return readout

    @invariant()
    def each_record_tells_the_truth(self) -> None:
        pipe = self.store.pipeline(transaction=False)
        for job_id in self.model.jobs:
            pipe.hmget("of:job:" + job_id, "state", "status", "queue")
            pipe.hmget("rq:job:" + job_id, "status", "origin")
            pipe.exists("of:prompt:" + job_id)
            pipe.get("of:result:" + job_id)
            pipe.zrange("rq:executions:" + job_id, 0, -1)
        replies = iter(pipe.execute())
        for job_id, job in self.model.jobs.items():
            state, status, queue = (value and value.decode() for value in next(replies))
            rq_status, origin = (value.decode() for value in next(replies))
            prompt, result, executions = next(replies), next(replies), next(replies)
            assert (state, status or "", queue) == (job.state, job.status, job.queue)
            done = job.state == "done"
            assert rq_status == (RQ_END[job.status][0] if done else RQ_STATUS[job.state])
            assert origin == (job.ended_in if done else job.queue)
            assert prompt == (not done or job.status == "failed")
            assert (result is not None) == done
            assert executions == ([job.token.encode()] if job.state == "started" else [])
            if done:
                assert self.results.setdefault(job_id, result) == result, "one terminal result, for ever"

    @invariant()
    def leases_are_those_of_started_jobs_and_never_more_than_the_slots(self) -> None:
        for backend, leases in self.model.leases.items():
            readout = dict(self.store.zrange("of:leases:" + backend, 0, -1, withscores=True))
            assert {member.decode(): score for member, score in readout.items()} == {
                f"{job_id}:{token}": until * 1000 for (job_id, token), until in leases.items()
            }
            assert len(readout) <= SLOTS[backend]
        started = {job_id for job_id, job in self.model.jobs.items() if job.state == "started"}
        assert {job_id for leases in self.model.leases.values() for job_id, _ in leases} == started
        executions = {key.decode().split(":")[2] for key in self.store.keys("rq:execution:*")}
        assert executions == started

    @invariant()
    def what_a_model_may_release_or_has_released_is_listed_so(self) -> None:
        held = {job_id for job_id, job in self.model.jobs.items() if job.state == "held"}
        for alias in ("smol", "large"):
            assert {i.decode() for i in self.store.zrange("of:held:" + alias, 0, -1)} == held
            released = {i for i, job in self.model.jobs.items() if job.released_by == alias}
            assert {i.decode() for i in self.store.zrange("of:released:" + alias, 0, -1)} == released

    @invariant()
    def what_is_open_scheduled_or_suspect_is_listed_so(self) -> None:
        open_ = {i.decode() for i in self.store.zrange("of:unfinished", 0, -1)}
        assert open_ == {job_id for job_id, job in self.model.jobs.items() if job.state != "done"}
        for key, expected in (("of:scheduled:gpu", self.model.due), ("of:suspects:gpu", self.model.suspects)):
            readout = dict(self.store.zrange(key, 0, -1, withscores=True))
            assert {i.decode(): score / 1000 for i, score in readout.items()} == expected


@pytest.mark.parametrize("steps", [pytest.param(40, id="in short runs"), pytest.param(120, id="in long runs")])
def test_the_scripts_do_what_the_model_does(redis_url, steps):
    machine = type("MachineHere", (Machine,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=1600 // steps,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )
