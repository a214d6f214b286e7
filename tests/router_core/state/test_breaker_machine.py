"""The breakers against a plain Python model of them: any order of calls, probes and words, time in the test's hands."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from router_core.breaker import BreakerPolicy, BreakerState
from router_core.job import CompletionJob
from router_core.outcome import Attempt, BreakerMark, CredentialMark, ErrorClass
from router_core.result import Result, Status
from router_core.state.breakers import Probed, Word, breakers, force, let_be, report
from router_core.state.delivery import Deliveries, Drained, Identity, Seat
from router_core.state.intake import Intake, Terms
from router_core.state.link import Link
from router_core.state.presence import register
from router_core.state.settling import Call, Ending
from router_core.state.switches import set_local_only

POLICY = BreakerPolicy(
    open_after=3, least_calls=4, slow_rate=0.75, window=100, recover_after=10, recover_most=50, forget_after=60, ramp=8
)
SLOT = 10_000  # ms of a tenth of the window
SEATS = {  # model -> where it is called; both backends in the house have one key
    "smol": (Seat("box", 3, "k1"), Seat("tower", 2, "k1")),
    "large": (Seat("tower", 2, "k1"), Seat("free", 2)),
    "far": (Seat("sky", 2, "k2"),),
}
LEASE_OF_PROBE = {"smol": 10_000, "large": 12_000, "far": 20_000}
FRONT, SMOL, LARGE, FAR = "gpu.smol.interactive", "gpu.smol.background", "gpu.large.background", "cloud.far.background"
DRAINS = {"wa": (FRONT, SMOL, LARGE), "wb": (LARGE,), "wc": (FAR,)}
TARGETS = ("box/smol", "tower/smol", "tower/large", "free/large", "sky/far", "key:k1", "key:k2")
MARKS = (*(BreakerMark.FAILURE,) * 3, *(BreakerMark.OK,) * 3, BreakerMark.SLOW, BreakerMark.NEUTRAL, BreakerMark.TRIP)
OK, SLOW, FAILURE, NEUTRAL, TRIP = BreakerMark
KEY_MARKS = (*(CredentialMark.FINE,) * 4, *(CredentialMark.COOLDOWN,) * 2, CredentialMark.PARK)
CHANCES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
CALLS = st.tuples(
    st.sampled_from(MARKS), st.sampled_from(KEY_MARKS), st.sampled_from([0, 5, 40]), st.booleans(), CHANCES
)
"""What a call came to: mark, mark for its key, seconds that a 429 asked for, whether it was a repetition, chance."""
NAMES = st.sampled_from(["wa", "wa", "wb", "wc"])


def model_of(queue: str) -> str:
    return queue.split(".")[1]


@dataclass
class Breaker:
    """What one is meant to be. Moments in ms; `due` is when it may be probed, None when nobody may."""

    state: str = "closed"
    epoch: int = 0
    since: int | None = None
    opens: int = 0
    run: int = 0
    answered: int = 0
    due: int | None = None
    probe: str = ""
    forced: tuple[str, float] | None = None
    ramp: int | None = None
    cool: int = 0
    window: dict[int, Counter] = field(default_factory=lambda: defaultdict(Counter))

    def go(self, state: str, now: int) -> None:
        self.state, self.since, self.due, self.ramp = state, now, None, None
        self.epoch += 1
        self.run = self.answered = 0
        self.probe, self.forced = "", None
        self.window.clear()

    def open(self, now: int, chance: float) -> None:
        healthy = self.state == "closed" and self.since is not None and now - self.since > POLICY.forget_after * 1000
        opens = 1 if healthy else self.opens + 1
        self.go("open", now)
        wait = min(POLICY.recover_most * 1000, POLICY.recover_after * 1000 * 2 ** (opens - 1))
        self.opens, self.due = opens, math.floor(now + wait * (1 + POLICY.spread * (2 * chance - 1)))

    def close(self, now: int) -> None:
        self.go("closed", now)
        self.ramp = now

    def hears(self, mark: str, call: tuple[str, int, bool], now: int, chance: float) -> bool:
        """A call of an epoch that took so long and was, perhaps, a repetition. Whether it opened."""
        epoch, took, repeated = call
        if self.state != "closed" or epoch != str(self.epoch):
            return False
        slot = self.window[now // SLOT]
        slot["r"] += repeated
        if mark == NEUTRAL:
            return False
        slot.update(n=1, ms=took, f=mark == FAILURE, s=mark == SLOW)
        self.run = self.run + 1 if mark == FAILURE else 0
        if mark == OK or (self.forced and self.forced[0] == "closed" and self.forced[1] > now):
            return False
        sums = self.sums(now)
        many = sums["n"] >= POLICY.least_calls
        rates = many and (sums["f"] >= POLICY.failure_rate * sums["n"] or sums["s"] >= POLICY.slow_rate * sums["n"])
        if mark == TRIP or (mark == FAILURE and self.run >= POLICY.open_after) or rates:
            self.open(now, chance)
        return self.state == "open"

    def sums(self, now: int) -> Counter:
        return sum((told for slot, told in self.window.items() if now // SLOT - 10 < slot), Counter())

    def slots(self, most: int, now: int) -> int:
        if self.state != "closed" or self.cool > now:
            return 0
        if self.ramp is not None and now - self.ramp < POLICY.ramp * 1000:
            return max(1, math.floor(most * ((now - self.ramp) / (POLICY.ramp * 1000))))
        return most


class Model:
    """A fleet with nothing but dicts and lists."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.breakers = {target: Breaker() for target in TARGETS}
        self.lists: dict[str, list[str]] = defaultdict(list)
        self.leases: Counter = Counter()
        self.local_only = False

    def roomiest(self, model: str) -> tuple[Seat | None, int]:
        best, most = None, 0
        for seat in SEATS[model]:
            room = self.breakers[f"{seat.backend}/{model}"].slots(seat.slots, self.now)
            if seat.credential:
                room = min(room, self.breakers[f"key:{seat.credential}"].slots(seat.slots, self.now))
            if room - self.leases[seat.backend] > most:
                best, most = seat, room - self.leases[seat.backend]
        return best, most

    def epochs(self, seat: Seat, model: str) -> tuple[str, str]:
        key = str(self.breakers[f"key:{seat.credential}"].epoch) if seat.credential else "0"
        return str(self.breakers[f"{seat.backend}/{model}"].epoch), key

    def claim(self, worker: str, want: int) -> tuple[list, list, int]:
        """(deliveries, targets to probe, when to look again)."""
        if self.local_only and worker == "wc":
            return [], [], 0
        taken: list[tuple[str, str, tuple[str, str]]] = []
        for queue in DRAINS[worker]:
            while self.lists[queue] and len(taken) < want:
                seat, room = self.roomiest(model_of(queue))
                if seat is None:
                    break
                for _ in range(min(want - len(taken), room, len(self.lists[queue]))):
                    self.leases[seat.backend] += 1
                    taken.append((self.lists[queue].pop(0), seat.backend, self.epochs(seat, model_of(queue))))
        return taken, *self.probes(worker)

    def places(self, worker: str) -> dict[tuple[str, str], str]:
        """(target, backend) -> the model that is asked there, in drain order."""
        places: dict[tuple[str, str], str] = {}
        for model in map(model_of, DRAINS[worker]):
            for seat in SEATS[model]:
                places.setdefault((f"{seat.backend}/{model}", seat.backend), model)
                if seat.credential:
                    places.setdefault((f"key:{seat.credential}", seat.backend), model)
        return places

    def probes(self, worker: str) -> tuple[list[str], int]:
        """Where nothing cools down, the first two that are due; the rest is looked at again."""
        places, given = self.places(worker), []
        again = [self.breakers[target].cool for target, _ in places if self.breakers[target].cool > self.now]
        waits: dict[str, tuple[int, str]] = {}  # target -> when it may be probed, and the model that is asked
        for (target, backend), model in places.items():
            if (due := self.breakers[target].due) is not None:
                due = due if due > self.now else max(self.now, self.breakers[f"{backend}/{model}"].cool)
                if target not in waits or due < waits[target][0]:
                    waits.pop(target, None)  # its turn is that of the place where it is asked
                    waits[target] = due, model
        for target, (due, model) in waits.items():
            if due > self.now or len(given) == 2:
                again.append(due)
                continue
            breaker = self.breakers[target]
            if breaker.state == "open":
                breaker.go("half_open", self.now)
            breaker.due, breaker.probe = self.now + LEASE_OF_PROBE[model], "?"
            given.append(target)
        return given, min(again, default=0)


class Machine(RuleBasedStateMachine):
    """Every rule does one thing on the server and in the model, and compares what each of them said."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.store = redis.Redis.from_url(self.url)
        self.store.flushall()
        self.loop = asyncio.new_event_loop()
        self.model = Model(int(time.time()) * 1000)
        self.link = Link(self.url, clock=lambda: self.model.now / 1000)
        self.workers: dict[str, Deliveries] = {}
        self.jobs = 0
        self.held: list = []  # deliveries that nobody has settled
        self.probes: list = []  # every probe ever handed out

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.do(self.link.close())
        self.loop.close()
        self.store.close()

    @initialize()
    def start_workers(self) -> None:
        for name, queues in DRAINS.items():
            drained = [Drained(q, SEATS[model_of(q)], LEASE_OF_PROBE[model_of(q)] / 1000 - 5) for q in queues]
            who = Identity(name, queues[0].split(".")[0], queues, ("box",), local=name != "wc")
            self.do(register(self.link, who))
            self.workers[name] = Deliveries(self.link, who, drained, policy=POLICY)

    @rule(queue=st.sampled_from([FRONT, SMOL, LARGE, FAR]), jobs=st.integers(1, 4))
    def supply(self, queue: str, jobs: int) -> None:
        for _ in range(jobs):
            self.jobs += 1
            job = CompletionJob(id=f"job-{self.jobs:05}", producer="tests", chain=("smol",), body={})
            self.do(Intake(self.link).accept(job, Terms(queue=queue, give_up=86400, keep=900)))
            self.model.lists[queue].append(job.id)

    @rule(name=NAMES, want=st.integers(0, 4))
    def claim(self, name: str, want: int) -> None:
        claim = self.do(self.workers[name].claim(want, 0))
        taken, probes, again = self.model.claim(name, want)
        assert [(d.id, d.backend, (d.epoch, d.credential_epoch)) for d in claim.deliveries] == taken
        assert [probe.target for probe in claim.probes] == probes
        assert round(claim.due * 1000) == again
        for probe in claim.probes:
            self.model.breakers[probe.target].probe = probe.token
        self.held += claim.deliveries
        self.probes += claim.probes

    @rule(which=st.sampled_from([0, 0, -1, 1, 2, 5]), call=CALLS)
    def settle(self, which: int, call: tuple) -> None:
        if not self.held:
            return
        mark, key, wait, repeated, chance = call
        delivery = self.held.pop(which % len(self.held))
        seat = next(seat for seat in SEATS[delivery.model] if seat.backend == delivery.backend)
        attempt = Attempt(
            model=delivery.model, backend=seat.backend, started_at=1, ended_at=3.5, error=ErrorClass.TIMEOUT
        )
        made = Call(
            attempt=attempt, group=None, mark=mark, epoch=delivery.epoch, credential=seat.credential,
            credential_mark=key, credential_epoch=delivery.credential_epoch, repeated=repeated,
            wait=wait, chance=chance,
        )  # fmt: skip
        ending = Ending(next=Result(id=delivery.id, status=Status.FAILED, error=ErrorClass.TIMEOUT), call=made)
        worker = self.workers["wa"]
        settled = self.do(worker.settle(worker.settling(delivery, ending)))
        model, target = self.model, self.model.breakers[f"{seat.backend}/{delivery.model}"]
        model.leases[seat.backend] -= 1
        opened = target.hears(mark, (delivery.epoch, 2500, repeated), model.now, chance)
        if key == CredentialMark.COOLDOWN:
            target.cool = max(target.cool, model.now + wait * 1000)
        if key == CredentialMark.PARK and seat.credential:
            parked = model.breakers[f"key:{seat.credential}"]
            opened |= parked.hears(TRIP, (delivery.credential_epoch, 0, False), model.now, chance)
        assert (settled.came, settled.opened) == ("settled", opened)

    @rule(mark=st.sampled_from(MARKS), name=NAMES, times=st.integers(3, 6), chance=CHANCES)
    def row_of_calls(self, mark: str, name: str, times: int, chance: float) -> None:
        """One after another, all alike: what opens a breaker."""
        self.supply(DRAINS[name][-1], times)
        for _ in range(times):
            self.claim(name, 1)
            self.settle(-1, (mark, CredentialMark.FINE, 0, False, chance))

    @rule(name=NAMES, calls=st.lists(CALLS, min_size=1, max_size=4), left=st.integers(0, 2))
    def calls_at_once(self, name: str, calls: list[tuple], left: int) -> None:
        """Some end, the oldest first, and some are left."""
        self.supply(DRAINS[name][-1], len(calls) + left)
        self.claim(name, len(calls) + left)
        for call in calls:
            self.settle(0, call)

    @rule(name=NAMES, cooled=st.booleans(), spare=st.integers(0, 2))
    def outage(self, name: str, cooled: bool, spare: int) -> None:
        """Every backend that a worker calls is broken, while some calls go on and, perhaps, come to a 429."""
        for queue in dict.fromkeys(DRAINS[name]):
            self.supply(queue, spare)
            self.claim(name, spare)
        for queue in DRAINS[name][-2:]:
            self.supply(queue, 3)
            for _ in range(3):
                self.claim(name, 1)
                self.settle(-1, (TRIP, CredentialMark.FINE, 0, False, 0.5))
        if cooled:
            self.settle(0, (NEUTRAL, CredentialMark.COOLDOWN, 40, False, 0.5))
        self.heal(name, 12)

    @rule(which=st.integers(1, 3), mark=st.sampled_from(MARKS), wait=st.sampled_from([0, 4]), chance=CHANCES)
    def answer_probe(self, which: int, mark: str, wait: int, chance: float) -> None:
        """One of the last, perhaps one that was lost and replaced, or answered before."""
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
                if breaker.answered == POLICY.probes:
                    breaker.close(now)
            else:
                breaker.open(now, chance)
        told = self.do(report(self.link, probe, Probed(BreakerMark(mark), "why", wait, chance), POLICY))
        assert told == breaker.state

    @rule(name=NAMES, seconds=st.sampled_from([12, 30, 60]))
    def heal(self, name: str, seconds: int) -> None:
        """Time enough for a probe, and whatever it is, it is answered."""
        self.pass_time(seconds)
        for _ in range(POLICY.probes):
            self.claim(name, 0)
            self.answer_probe(1, OK, 0, 0.5)

    @rule(
        name=st.sampled_from(TARGETS),
        how=st.sampled_from(["open", "closed", "auto"]),
        seconds=st.sampled_from([None, 5]),
    )
    def say(self, name: str, how: str, seconds: int | None) -> None:
        breaker, now = self.model.breakers[name], self.model.now
        ends = math.inf if seconds is None else now + seconds * 1000
        if how == "auto":
            if breaker.state == "open":
                breaker.due, breaker.opens = now, 0 if breaker.forced else breaker.opens
            breaker.forced = None
            state = self.do(let_be(self.link, name, POLICY))
        else:
            state = self.do(force(self.link, name, Word(BreakerState(how), "told so", seconds), POLICY))
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
    def every_breaker_is_what_the_model_says(self) -> None:
        now = self.model.now
        found = {breaker.target: breaker for breaker in self.do(breakers(self.link))}
        for target, breaker in self.model.breakers.items():
            told = found.get(target)
            if told is None:
                assert (breaker.epoch, breaker.run, breaker.cool > now) == (0, 0, False), target
                continue
            assert (told.state, told.epoch, told.opens) == (breaker.state, breaker.epoch, breaker.opens), target
            assert told.failures_in_a_row == breaker.run
            assert told.forced == (breaker.forced and breaker.forced[0])
            if breaker.state == "open":
                assert told.until == (None if breaker.due is None else breaker.due / 1000), target
            cool = told.cooling_until or 0
            assert (cool if cool * 1000 > now else 0) == (breaker.cool / 1000 if breaker.cool > now else 0)

    @invariant()
    def every_window_holds_what_the_model_counted(self) -> None:
        with self.store.pipeline(transaction=False) as asked:
            for target in TARGETS:
                asked.hgetall("of:window:" + target)
            windows = dict(zip(TARGETS, asked.execute(), strict=True))
        for target, breaker in self.model.breakers.items():
            sums: Counter = Counter()
            for name, value in windows[target].items():
                slot, what = name.decode().split(":")
                sums[what] += int(value) if int(slot) > self.model.now // SLOT - 10 else 0
            assert +sums == +breaker.sums(self.model.now), target


@pytest.mark.parametrize("steps", [pytest.param(25, id="in short runs"), pytest.param(100, id="in long runs")])
def test_the_breakers_do_what_the_model_does(redis_url, steps):
    machine = type("MachineHere", (Machine,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3000 // steps, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
