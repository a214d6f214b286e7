"""The breakers against a plain Python model: any order of calls, probes and overrides; the test sets the clock."""

from __future__ import annotations

import math
import time
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.breakers import (
    BreakerOverride,
    ProbeResult,
    force_breaker,
    list_breakers,
    report_probe,
    reset_breaker,
)
from openfall.router_core.state.claims import Delivery, Probe
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import BreakerState, CallSignal, CredentialSignal, ErrorClass
from tests.router_core.state.reference_breaker import (
    CALLS,
    CAPACITIES,
    CHANCES,
    DRAINS,
    FAR,
    FRONT,
    LARGE,
    LEASE_OF_PROBE,
    MARKS,
    NAMES,
    NEUTRAL,
    OK,
    POLICY,
    SLOT,
    SMOL,
    TARGETS,
    TRIP,
    Model,
    model_of,
)
from tests.router_core.state.script_machine import ScriptMachine, run_machine


class BreakerMachine(ScriptMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(int(time.time()) * 1000)
        self.jobs = 0
        self.held: list[Delivery] = []  # deliveries that are not settled
        self.probes: list[Probe] = []  # every probe that was ever claimed

    def server_time(self) -> float:
        return self.model.now / 1000

    @initialize()
    def start_workers(self) -> None:
        for name, queues in DRAINS.items():
            drained = [
                QueueSubscription(q, CAPACITIES[model_of(q)], LEASE_OF_PROBE[model_of(q)] / 1000 - 5) for q in queues
            ]
            identity = WorkerIdentity(name, queues[0].split(".")[0], queues, ("box",), local=name != "wc")
            self.do(register(self.link, identity))
            self.workers[name] = WorkerQueue(self.link, identity, drained, policy=POLICY)

    @rule(queue=st.sampled_from([FRONT, SMOL, LARGE, FAR]), jobs=st.integers(1, 4))
    def enqueue(self, queue: str, jobs: int) -> None:
        for _ in range(jobs):
            self.jobs += 1
            job = CompletionJob(id=f"job-{self.jobs:05}", producer="tests", chain=("smol",), body={})
            self.do(
                JobStore(self.link).accept(job, SubmitTerms(queue=queue, expires_after_seconds=86400, keep_seconds=900))
            )
            self.model.lists[queue].append(job.id)

    @rule(name=NAMES, want=st.integers(0, 4))
    def claim(self, name: str, want: int) -> None:
        claim = self.do(self.workers[name].claim(want, 0))
        taken, probes, again = self.model.claim(name, want)
        assert [(d.id, d.backend, (d.epoch, d.credential_epoch)) for d in claim.deliveries] == taken
        assert [probe.target for probe in claim.probes] == probes
        assert round(claim.next_due_at * 1000) == again
        for probe in claim.probes:
            self.model.breakers[probe.target].probe = probe.token
        self.held += claim.deliveries
        self.probes += claim.probes

    @rule(which=st.sampled_from([0, 0, -1, 1, 2, 5]), call=CALLS)
    def settle(self, which: int, call: tuple) -> None:
        if not self.held:
            return
        mark, key, wait, chance = call
        delivery = self.held.pop(which % len(self.held))
        capacity = next(capacity for capacity in CAPACITIES[delivery.model] if capacity.name == delivery.backend)
        attempt = Attempt(
            model=delivery.model, backend=capacity.name, started_at=1, ended_at=3.5, error=ErrorClass.TIMEOUT
        )
        report = CallReport(
            attempt=attempt, group=None, signal=mark, epoch=delivery.epoch, credential=delivery.credential,
            credential_signal=key, credential_epoch=delivery.credential_epoch,
            cooldown_seconds=wait, jitter=chance,
        )  # fmt: skip
        ending = DeliveryOutcome(
            next_step=Result(id=delivery.id, status=Status.FAILED, error=ErrorClass.TIMEOUT), call=report
        )
        worker = self.workers["wa"]
        settled = self.do(worker.settle(worker.settlement(delivery, ending)))
        model, target = self.model, self.model.breakers[f"{capacity.name}/{delivery.model}"]
        model.leases[capacity.name] -= 1
        opened = target.record_call(mark, (delivery.epoch, 2500), model.now, chance)
        if key == CredentialSignal.COOLDOWN:
            target.cool = max(target.cool, model.now + wait * 1000)
        if key == CredentialSignal.PARK and delivery.credential:
            parked = model.breakers[f"key:{delivery.credential}"]
            opened |= parked.record_call(TRIP, (delivery.credential_epoch, 0), model.now, chance)
        assert (settled.outcome, settled.opened_breaker) == ("settled", opened)

    @rule(mark=st.sampled_from(MARKS), name=NAMES, times=st.integers(3, 6), chance=CHANCES)
    def row_of_calls(self, mark: str, name: str, times: int, chance: float) -> None:
        """One after another, all alike: what opens a breaker."""
        self.enqueue(DRAINS[name][-1], times)
        for _ in range(times):
            self.claim(name, 1)
            self.settle(-1, (mark, CredentialSignal.FINE, 0, chance))

    @rule(name=NAMES, calls=st.lists(CALLS, min_size=1, max_size=4), left=st.integers(0, 2))
    def calls_at_once(self, name: str, calls: list[tuple], left: int) -> None:
        """Some calls end, the oldest first, and some go on."""
        self.enqueue(DRAINS[name][-1], len(calls) + left)
        self.claim(name, len(calls) + left)
        for call in calls:
            self.settle(0, call)

    @rule(name=NAMES, cooled=st.booleans(), spare=st.integers(0, 2))
    def outage(self, name: str, cooled: bool, spare: int) -> None:
        """Every backend that a worker calls fails, while some calls go on and may end in a 429."""
        for queue in dict.fromkeys(DRAINS[name]):
            self.enqueue(queue, spare)
            self.claim(name, spare)
        for queue in DRAINS[name][-2:]:
            self.enqueue(queue, 3)
            for _ in range(3):
                self.claim(name, 1)
                self.settle(-1, (TRIP, CredentialSignal.FINE, 0, 0.5))
        if cooled:
            self.settle(0, (NEUTRAL, CredentialSignal.COOLDOWN, 40, 0.5))
        self.heal(name, 12)

    @rule(
        which=st.integers(1, 3),
        mark=st.sampled_from(MARKS),
        wait=st.sampled_from([0, 4]),
        chance=CHANCES,
        on_trial=st.booleans(),
    )
    def answer_probe(self, which: int, mark: str, wait: int, chance: float, on_trial: bool = False) -> None:
        """One of the last probes, which may be lost and replaced, or answered already."""
        if not self.probes:
            return
        probe = self.probes[-min(which, len(self.probes))]
        breaker, now = self.model.breakers[probe.target], self.model.now
        if breaker.state == "half_open" and breaker.probe == probe.token:
            breaker.probe = ""
            if mark == NEUTRAL:
                breaker.due = now + max(1000, wait * 1000)
            elif mark == OK:
                breaker.answered, breaker.due = breaker.answered + 1, 0
                if breaker.answered == POLICY.probe_successes:
                    breaker.close(now)
                    breaker.trial = on_trial
            else:
                breaker.open(now, chance)
        result = ProbeResult(CallSignal(mark), "why", wait, chance, on_trial=on_trial)
        state = self.do(report_probe(self.link, probe, result, POLICY))
        assert state == breaker.state

    @rule(name=NAMES, seconds=st.sampled_from([12, 30, 60]))
    def heal(self, name: str, seconds: int) -> None:
        """Time enough for a probe, which is answered."""
        self.pass_time(seconds)
        for _ in range(POLICY.probe_successes):
            self.claim(name, 0)
            self.answer_probe(1, OK, 0, 0.5)

    @rule(
        name=st.sampled_from(TARGETS),
        how=st.sampled_from(["open", "closed", "auto"]),
        seconds=st.sampled_from([None, 5]),
    )
    def override(self, name: str, how: str, seconds: int | None) -> None:
        breaker, now = self.model.breakers[name], self.model.now
        ends = math.inf if seconds is None else now + seconds * 1000
        if how == "auto":
            if breaker.state == "open":
                breaker.due, breaker.opens = now, 0 if breaker.forced else breaker.opens
            breaker.forced = None
            state = self.do(reset_breaker(self.link, name, POLICY))
        else:
            state = self.do(
                force_breaker(self.link, name, BreakerOverride(BreakerState(how), "an override", seconds), POLICY)
            )
            if breaker.forced is None or breaker.forced[0] != how or breaker.state != how:
                breaker.open(now, 0.5) if how == "open" else breaker.close(now)
            breaker.forced = (how, ends)
            breaker.due = None if how == "closed" or seconds is None else now + seconds * 1000
            breaker.ramp, breaker.cool = None, 0 if how == "closed" else breaker.cool
        assert state == breaker.state

    @rule(on=st.sampled_from([True, False, False]))
    def switch(self, on: bool) -> None:
        self.model.local_only = on
        self.do(set_local_only(self.link, on))

    @rule(seconds=st.sampled_from([0.5, 1, 3, 10, 25, 61, 110]))
    def pass_time(self, seconds: float) -> None:
        self.model.now += int(seconds * 1000)

    @invariant()
    def every_breaker_equals_the_model(self) -> None:
        now = self.model.now
        statuses = {breaker.target: breaker for breaker in self.do(list_breakers(self.link))}
        for target, breaker in self.model.breakers.items():
            status = statuses.get(target)
            if status is None:
                assert (breaker.epoch, breaker.run, breaker.cool > now) == (0, 0, False), target
                continue
            assert (status.state, status.epoch, status.open_count) == (breaker.state, breaker.epoch, breaker.opens), (
                target
            )
            assert status.consecutive_failures == breaker.run
            assert status.forced == (breaker.forced and breaker.forced[0])
            if breaker.state == "open":
                assert status.until == (None if breaker.due is None else breaker.due / 1000), target
            cool = status.cooling_until or 0
            assert (cool if cool * 1000 > now else 0) == (breaker.cool / 1000 if breaker.cool > now else 0)

    @invariant()
    def every_window_holds_what_the_model_counted(self) -> None:
        with self.store.pipeline(transaction=False) as pipeline:
            for target in TARGETS:
                pipeline.hgetall("of:breaker-window:" + target)
            windows = dict(zip(TARGETS, pipeline.execute(), strict=True))
        for target, breaker in self.model.breakers.items():
            sums: Counter = Counter()
            for name, value in windows[target].items():
                slot, what = name.decode().split(":")
                sums[what] += int(value) if int(slot) > self.model.now // SLOT - 10 else 0
            assert +sums == +breaker.sums(self.model.now), target


@pytest.mark.slow
@pytest.mark.parametrize("steps", [pytest.param(25, id="in short runs"), pytest.param(100, id="in long runs")])
def test_the_breakers_do_what_the_model_does(redis_url, steps):
    run_machine(BreakerMachine, redis_url, steps=steps, total_steps=3000)
