"""What a breaker is meant to do, with nothing but fields: the rule of it, read once more."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hypothesis import strategies as st

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.state.worker_subscription import BackendCapacity
from openfall.router_core.vocabulary import CallSignal, CredentialSignal

POLICY = BreakerPolicy(
    consecutive_failures=3,
    minimum_calls=4,
    slow_call_rate=0.75,
    window=100,
    open_for=10,
    open_for_max=50,
    reset_after=60,
    slow_start=8,
)
SLOT = 10_000  # ms of a tenth of the window
CAPACITIES = {  # model -> where it is called; both backends in the house have one key
    "smol": (BackendCapacity("box", 3, ("k1",)), BackendCapacity("tower", 2, ("k1",))),
    "large": (BackendCapacity("tower", 2, ("k1",)), BackendCapacity("free", 2)),
    "far": (BackendCapacity("sky", 2, ("k2",)),),
}
LEASE_OF_PROBE = {"smol": 10_000, "large": 12_000, "far": 20_000}
FRONT, SMOL, LARGE, FAR = "gpu.smol.interactive", "gpu.smol.background", "gpu.large.background", "cloud.far.background"
DRAINS = {"wa": (FRONT, SMOL, LARGE), "wb": (LARGE,), "wc": (FAR,)}
TARGETS = ("box/smol", "tower/smol", "tower/large", "free/large", "sky/far", "key:k1", "key:k2")
MARKS = (*(CallSignal.FAILURE,) * 3, *(CallSignal.OK,) * 3, CallSignal.SLOW, CallSignal.NEUTRAL, CallSignal.TRIP)
OK, SLOW, FAILURE, NEUTRAL, TRIP = CallSignal
KEY_MARKS = (*(CredentialSignal.FINE,) * 4, *(CredentialSignal.COOLDOWN,) * 2, CredentialSignal.PARK)
CHANCES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
CALLS = st.tuples(st.sampled_from(MARKS), st.sampled_from(KEY_MARKS), st.sampled_from([0, 5, 40]), CHANCES)
"""The outcome of a call: signal, signal for its key, seconds that a 429 asks for, jitter."""
NAMES = st.sampled_from(["wa", "wa", "wb", "wc"])


def model_of(queue: str) -> str:
    return queue.split(".")[1]


@dataclass
class Breaker:
    """The expected state of a breaker. Times in ms; `due` is when it may be probed, None: it may not."""

    state: str = "closed"
    epoch: int = 0
    since: int | None = None
    opens: int = 0
    run: int = 0
    answered: int = 0
    trial: bool = False
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
        self.probe, self.forced, self.trial = "", None, False
        self.window.clear()

    def open(self, now: int, chance: float) -> None:
        healthy = self.state == "closed" and self.since is not None and now - self.since > POLICY.reset_after * 1000
        opens = 1 if healthy else self.opens + 1
        self.go("open", now)
        wait = min(POLICY.open_for_max * 1000, POLICY.open_for * 1000 * 2 ** (opens - 1))
        self.opens, self.due = opens, math.floor(now + wait * (1 + POLICY.jitter * (2 * chance - 1)))

    def close(self, now: int) -> None:
        self.go("closed", now)
        self.ramp = now

    def record_call(self, mark: str, call: tuple[str, int], now: int, chance: float) -> bool:
        """A call of an epoch that took so long. Whether it opened."""
        epoch, took = call
        if self.state != "closed" or epoch != str(self.epoch) or mark == NEUTRAL:
            return False
        slot = self.window[now // SLOT]
        slot.update(n=1, ms=took, f=mark == FAILURE, s=mark == SLOW)
        self.run = self.run + 1 if mark == FAILURE else 0
        trial, self.trial = self.trial, False
        if mark == OK or (self.forced and self.forced[0] == "closed" and self.forced[1] > now):
            return False
        sums = self.sums(now)
        many = sums["n"] >= POLICY.minimum_calls
        rates = many and (
            sums["f"] >= POLICY.failure_rate * sums["n"] or sums["s"] >= POLICY.slow_call_rate * sums["n"]
        )
        if mark == TRIP or (mark == FAILURE and (trial or self.run >= POLICY.consecutive_failures)) or rates:
            self.open(now, chance)
        return self.state == "open"

    def sums(self, now: int) -> Counter:
        return sum((counts for slot, counts in self.window.items() if now // SLOT - 10 < slot), Counter())

    def slots(self, most: int, now: int) -> int:
        if self.state != "closed" or self.cool > now:
            return 0
        if self.ramp is not None and now - self.ramp < POLICY.slow_start * 1000:
            return max(1, math.floor(most * ((now - self.ramp) / (POLICY.slow_start * 1000))))
        return most


class Model:
    """A fleet with nothing but dicts and lists."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.breakers = {target: Breaker() for target in TARGETS}
        self.lists: dict[str, list[str]] = defaultdict(list)
        self.leases: Counter = Counter()
        self.local_only = False

    def roomiest(self, model: str) -> tuple[BackendCapacity | None, int]:
        best, most = None, 0
        for capacity in CAPACITIES[model]:
            room = self.breakers[f"{capacity.name}/{model}"].slots(capacity.slots, self.now)
            for key in capacity.keys:
                room = min(room, self.breakers[f"key:{key}"].slots(capacity.slots, self.now))
            if room - self.leases[capacity.name] > most:
                best, most = capacity, room - self.leases[capacity.name]
        return best, most

    def epochs(self, capacity: BackendCapacity, model: str) -> tuple[str, str]:
        key = str(self.breakers[f"key:{capacity.keys[0]}"].epoch) if capacity.keys else "0"
        return str(self.breakers[f"{capacity.name}/{model}"].epoch), key

    def claim(self, worker: str, want: int) -> tuple[list, list, int]:
        """(deliveries, targets to probe, when to look again)."""
        if self.local_only and worker == "wc":
            return [], [], 0
        taken: list[tuple[str, str, tuple[str, str]]] = []
        for queue in DRAINS[worker]:
            while self.lists[queue] and len(taken) < want:
                capacity, room = self.roomiest(model_of(queue))
                if capacity is None:
                    break
                for _ in range(min(want - len(taken), room, len(self.lists[queue]))):
                    self.leases[capacity.name] += 1
                    taken.append((self.lists[queue].pop(0), capacity.name, self.epochs(capacity, model_of(queue))))
        return taken, *self.probes(worker)

    def rq_places(self, worker: str) -> dict[tuple[str, str], str]:
        """(target, backend) -> the model that is probed there, in drain order."""
        places: dict[tuple[str, str], str] = {}
        for model in map(model_of, DRAINS[worker]):
            for capacity in CAPACITIES[model]:
                places.setdefault((f"{capacity.name}/{model}", capacity.name), model)
                for key in capacity.keys:
                    places.setdefault((f"key:{key}", capacity.name), model)
        return places

    def probes(self, worker: str) -> tuple[list[str], int]:
        """Where nothing cools down, the first two that are due; the rest is looked at again."""
        places, given = self.rq_places(worker), []
        again = [self.breakers[target].cool for target, _ in places if self.breakers[target].cool > self.now]
        waits: dict[str, tuple[int, str]] = {}  # target -> when it may be probed, and the model that is probed
        for (target, backend), model in places.items():
            if (due := self.breakers[target].due) is not None:
                due = due if due > self.now else max(self.now, self.breakers[f"{backend}/{model}"].cool)
                if target not in waits or due < waits[target][0]:
                    waits.pop(target, None)  # its turn is that of the place where it is probed
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
