"""Limits and keys against a plain Python model: any order of jobs, claims of two workers, settles and time.

Beside the model, which keeps the buckets, an invariant keeps none: it counts what started in the last minute."""

from __future__ import annotations

import math
import time
from collections import defaultdict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.rate_limits import rates_for
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass
from tests.router_core.state.script_machine import ScriptMachine, run_machine

INTERACTIVE, BATCH = "gpu.smol.interactive", "gpu.smol.batch"
REQUESTS, TOKENS, ANSWER = 12, 6000, 100
SPEC = Backend(
    url="http://box", pool="gpu", slots=60, reserved_interactive=20, requests_per_minute=REQUESTS,
    tokens_per_minute=TOKENS, burst=0.25,
)  # fmt: skip
RATES = rates_for(SPEC)
KEYS = ("one", "two")
MINUTE = 60_000
LARGEST = 4000


class LimitMachine(ScriptMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = int(time.time()) * 1000
        self.jobs = 0
        self.lists: dict[str, list[tuple[str, int]]] = {INTERACTIVE: [], BATCH: []}
        self.full_at: dict[tuple[str, str], float] = defaultdict(float)
        self.last_key = ""
        self.running: list[Delivery] = []
        self.started: list[tuple[int, str, bool, int]] = []  # when (ms), key, interactive, estimated tokens

    def server_time(self) -> float:
        return self.now / 1000

    @initialize()
    def start_workers(self) -> None:
        box = BackendCapacity("box", 60, KEYS, 20, RATES, ANSWER)
        for name in ("wa", "wb"):
            identity = WorkerIdentity(name, "gpu", (INTERACTIVE, BATCH), ("box",))
            self.do(register(self.link, identity))
            drained = [QueueSubscription(queue, (box,)) for queue in (INTERACTIVE, BATCH)]
            self.workers[name] = WorkerQueue(self.link, identity, drained)

    @rule(
        queue=st.sampled_from([INTERACTIVE, BATCH]),
        jobs=st.integers(1, 5),
        prompt=st.sampled_from([0, 50, 400, LARGEST]),
        answer=st.sampled_from([None, 10, 900]),
    )
    def enqueue(self, queue: str, jobs: int, prompt: int, answer: int | None) -> None:
        for _ in range(jobs):
            self.jobs += 1
            job = CompletionJob(id=f"job-{self.jobs:05}", producer="tests", chain=("smol",), body={})
            terms = SubmitTerms(
                queue=queue, expires_after_seconds=86400, keep_seconds=900, prompt_tokens=prompt, answer_tokens=answer
            )
            self.do(JobStore(self.link).accept(job, terms))
            self.lists[queue].append((job.id, prompt + (ANSWER if answer is None else answer)))

    def free_at(self, key: str, interactive: bool, tokens: int) -> int:
        waits = [
            self.full_at[key, rate.name] + min(rate.cost_ms(tokens), rate.burst_ms) - rate.burst_ms
            for rate in RATES
            if not (rate.others and interactive)
        ]
        return math.ceil(max(0.0, *waits) - 0.1)

    def expected(self, want: int) -> tuple[list[tuple[str, str, int]], int]:
        """(job, key, tokens) of a claim, and when a limit lets the next job start."""
        taken, due = [], []
        for queue in (INTERACTIVE, BATCH):
            interactive = queue == INTERACTIVE
            while self.lists[queue] and len(taken) < want:
                job_id, tokens = self.lists[queue][0]
                turn = KEYS.index(self.last_key) + 1 if self.last_key else 0
                order = KEYS[turn:] + KEYS[:turn]
                key = next((key for key in order if self.free_at(key, interactive, tokens) <= self.now), None)
                if key is None:
                    due.append(min(self.free_at(key, interactive, tokens) for key in KEYS))
                    break
                self.lists[queue].pop(0)
                for rate in RATES:
                    if not (rate.others and interactive):
                        full_at = max(self.full_at[key, rate.name], self.now) + rate.cost_ms(tokens)
                        self.full_at[key, rate.name] = full_at
                self.last_key = key
                self.started.append((self.now, key, interactive, tokens))
                taken.append((job_id, key, tokens))
        return taken, min(due, default=0)

    @rule(name=st.sampled_from(["wa", "wb"]), want=st.integers(0, 6))
    def claim(self, name: str, want: int) -> None:
        claim = self.do(self.workers[name].claim(want, 0))
        taken, due = self.expected(want)
        assert [(d.id, d.credential, d.charged_tokens) for d in claim.deliveries] == taken
        assert abs(round(claim.next_due_at * 1000) - due) <= 1, "to the millisecond"
        self.running += claim.deliveries

    @rule(
        which=st.integers(0, 9), used=st.sampled_from([None, 0, 60, 2000]), called=st.sampled_from([True, True, False])
    )
    def settle(self, which: int, used: int | None, called: bool) -> None:
        if not self.running:
            return
        delivery = self.running.pop(which % len(self.running))
        attempt = Attempt(
            model="smol", backend="box", started_at=1, ended_at=2, input_tokens=used, error=ErrorClass.TIMEOUT
        )
        report = CallReport(
            attempt=attempt, group=None, signal=CallSignal.NEUTRAL, epoch="0", credential=delivery.credential,
            credential_signal=CredentialSignal.FINE, credential_epoch="0", cooldown_seconds=0.0,
            jitter=0.5,
        )  # fmt: skip
        end = Result(id=delivery.id, status=Status.FAILED, error=ErrorClass.TIMEOUT)
        outcome = DeliveryOutcome(next_step=end, call=report if called else None)
        worker = self.workers["wa"]
        assert self.do(worker.settle(worker.settlement(delivery, outcome))).outcome == "settled"
        for rate in RATES:
            if rate.others and delivery.interactive:
                continue
            charged = rate.cost_ms(delivery.charged_tokens)
            cost = 0.0 if not called else charged if used is None else rate.cost_ms(used)
            at = self.full_at[delivery.credential, rate.name]
            if cost != charged:
                self.full_at[delivery.credential, rate.name] = (
                    (max(at, self.now) if cost > charged else at) + cost - charged
                )
        if not called:
            started = next(
                s for s in reversed(self.started) if s[1] == delivery.credential and s[3] == delivery.charged_tokens
            )
            self.started.remove(started)

    @rule(seconds=st.sampled_from([0.3, 1, 4, 10, 30, 61]))
    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    @invariant()
    def no_minute_had_more_requests_of_a_key_than_its_limit(self) -> None:
        for key in KEYS:
            recent = [start for start in self.started if start[1] == key and start[0] > self.now - MINUTE + 10]
            assert len(recent) <= REQUESTS
            assert sum(not interactive for _, _, interactive, _ in recent) <= REQUESTS * 2 // 3


@pytest.mark.parametrize("steps", [pytest.param(25, id="in short runs"), pytest.param(100, id="in long runs")])
def test_the_limits_do_what_the_model_does_and_no_minute_has_too_many_requests(redis_url, steps):
    run_machine(LimitMachine, redis_url, steps=steps, total_steps=3000)
