"""A plain model of the scripts of jobs, with dicts and lists: jobs, leases, crashes, the clock."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.state.beats_and_leases import LEASE_SECONDS, PRESENCE_SECONDS
from tests.router_core.crash_rule import CrashVerdict, judge_crash
from tests.router_core.state.reference_queue import ReferenceQueue

SMOL, LARGE, DEGRADE = "gpu.smol.background", "gpu.large.background", "degrade"
SERVED = {SMOL: {"box": 2, "big": 1}, LARGE: {"big": 1}, DEGRADE: {"degrade": 2}}
SLOTS = {"box": 2, "big": 1, "degrade": 2}
WORKERS = {"wa": (SMOL, LARGE), "wb": (SMOL, LARGE), "wc": (LARGE,), "wd": (DEGRADE,)}
VERBS = ("answer", "fail", "queue", "later", "fall", "back")
RELEASED_AT_ONCE = 2
SILENCE, GRACE, RESERVED = 4, 5, 60
KINDS = ("wip", "finished", "failed", "canceled", "scheduled", "deferred")
RQ_STATUS = {"queued": "queued", "scheduled": "scheduled", "started": "started", "held": "deferred"}
RQ_END = {
    "answered": ("finished", "finished"),
    "failed": ("failed", "failed"),
    "expired": ("failed", "failed"),
    "cancelled": ("canceled", "canceled"),
}


@dataclass
class Job:
    queue: str
    deadline: float
    state: str = "queued"
    token: str = ""
    settled: str = ""  # the tokens whose settle arrived, `!` before one that was refused; the last 64 bytes
    worker: str = ""
    backend: str = ""
    crashes: int = 0
    crashes_alone: int = 0
    alone: bool = False
    deliveries: int = 0
    status: str = ""
    ended_in: str = ""
    accepted: float = 0.0
    fell_from: str = ""
    fell_token: str = ""  # of the delivery that fell: its late answer is accepted
    released_by: str = ""


def _by_score(item: tuple[str, float]) -> tuple[float, str]:
    return item[1], item[0]


class Model:
    """What the scripts must do with jobs, with dicts and lists only."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.jobs: dict[str, Job] = {}
        self.producer_of: dict[str, str] = {}
        self.lists = {queue: ReferenceQueue(self.producer_of) for queue in SERVED}
        self.leases: dict[str, dict[tuple[str, str], float]] = {backend: {} for backend in SLOTS}
        self.due: dict[str, float] = {}
        self.suspects: dict[str, float] = {}
        self.presence: dict[str, float] = {}
        self.pulse_at: float | None = None
        self.answered_for: dict[str, int] = {"smol": 0, "large": 0}  # answers of jobs that were released to each model
        self.paused: set[str] = set()
        self.suspended = False

    def pulse(self) -> bool:
        last = self.now if self.pulse_at is None else self.pulse_at
        self.pulse_at = self.now
        if self.now - last <= SILENCE:
            return False
        longer = self.now - last + GRACE
        for ends in (self.presence, *self.leases.values()):
            for member in ends:
                ends[member] += longer
        return True

    def beat(self, worker: str, calls: list[tuple[str, str, str]]) -> list[str]:
        self.pulse()
        self.presence[worker] = self.now + PRESENCE_SECONDS
        lost = []
        for job_id, token, backend in calls:
            if (job_id, token) in self.leases[backend]:
                self.leases[backend][job_id, token] = self.now + LEASE_SECONDS
            else:
                lost.append(job_id)
        return lost

    def roomiest(self, queue: str) -> tuple[str, int]:
        room = {name: slots - len(self.leases[name]) for name, slots in SERVED[queue].items()}
        best = max(room, key=lambda name: room[name])
        return best, room[best]

    def claim(self, want: int, busy: int, queues: tuple[str, ...], drained: str) -> tuple[list[str], str]:
        """(job ids, suspect); `start` enters the leases, since it knows the token."""
        if self.suspended:
            return [], ""
        if queues != (DEGRADE,):  # another pool: nothing waits for a moment there
            self.promote()
        open_ = [queue for queue in queues if queue not in self.paused]
        suspect = self.drain_for_suspect(busy, open_, drained)
        if suspect:
            return ([] if busy else [suspect]), suspect
        taken: list[str] = []
        for queue in open_:
            while len(taken) < want and self.lists[queue] and self.roomiest(queue)[1] > 0:
                job_id = self.lists[queue].pop_first()
                self.start(job_id, self.roomiest(queue)[0])
                taken.append(job_id)
        return taken, ""

    def promote(self) -> None:
        due = [job_id for job_id, due in sorted(self.due.items(), key=_by_score) if due <= self.now]
        for job_id in reversed(due):
            del self.due[job_id]
            self.jobs[job_id].state = "queued"
            self.lists[self.jobs[job_id].queue].insert_first(job_id)

    def drain_for_suspect(self, busy: int, queues: list[str], drained: str) -> str:
        waiting = [job_id for job_id, score in sorted(self.suspects.items(), key=_by_score) if score <= self.now]
        for job_id in [drained] * (drained in self.suspects) + waiting:
            queue = self.jobs[job_id].queue
            if queue in queues and busy:
                self.suspects[job_id] = self.now + RESERVED
                return job_id
            if queue in queues and self.roomiest(queue)[1] > 0:
                del self.suspects[job_id]
                self.start(job_id, self.roomiest(queue)[0])
                self.jobs[job_id].alone = True
                return job_id
        return ""

    def start(self, job_id: str, backend: str) -> None:
        job = self.jobs[job_id]
        job.state, job.backend, job.token, job.alone = "started", backend, "?", False
        job.deliveries += 1
        self.leases[backend][job_id, "?"] = self.now + LEASE_SECONDS

    def fence(self, job_id: str, token: str, verb: str) -> str:
        job = self.jobs[job_id]
        if token in job.settled.split():
            return "again"
        if f"!{token}" in job.settled.split():
            return "late"
        fell = verb == "done" and token == job.fell_token
        known = fell or token == job.token
        if not known or job.state == "done" or (job.state != "started" and verb != "done"):
            self.record_settle(job, f"!{token}")
            return "late"
        return "settled"

    def record_settle(self, job: Job, token: str) -> None:
        tokens = [*job.settled.split(), token]
        while len(" ".join(tokens)) > 64:
            tokens.pop(0)
        job.settled = " ".join(tokens)

    def ending_queue(self, job: Job, token: str) -> str:
        """The queue in whose registry a job ends: for an accepted late answer, the one from which it fell."""
        late = job.state != "started" or token == job.fell_token
        return job.fell_from if job.queue == DEGRADE and late else job.queue

    def requeue_held(self, job: Job, queue: str) -> None:
        job.state, job.queue, job.token, job.fell_token = "queued", queue, "", ""

    def leave(self, job_id: str) -> None:
        job = self.jobs[job_id]
        self.leases.get(job.backend, {}).pop((job_id, job.token), None)
        self.due.pop(job_id, None)
        self.suspects.pop(job_id, None)
        if job.state == "queued":
            self.lists[job.queue].remove(job_id)

    def fall(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.fell_from = job.fell_from if job.queue == DEGRADE else job.queue
        job.state, job.queue, job.fell_token = "queued", DEGRADE, job.token
        self.lists[DEGRADE].append(job_id)
        self.unrelease(job)

    def unrelease(self, job: Job, *, answered: bool = False) -> None:
        if job.released_by:
            self.answered_for[job.released_by] = self.answered_for[job.released_by] + 1 if answered else 0
        job.released_by = ""

    def release(self, alias: str) -> list[str]:
        """Every held job may go to either model: the oldest first, with room for one more after each answer."""
        in_flight = sum(job.released_by == alias for job in self.jobs.values())
        room = min(RELEASED_AT_ONCE, 1 + self.answered_for[alias]) - in_flight
        held = sorted((job.accepted, job_id) for job_id, job in self.jobs.items() if job.state == "held")
        chosen = [job_id for _, job_id in held[: max(0, room)]]
        for job_id in reversed(chosen):
            job = self.jobs[job_id]
            self.requeue_held(job, f"gpu.{alias}.background")
            job.released_by = alias
            self.lists[job.queue].insert_first(job_id)
        return chosen

    def finish(self, job_id: str, status: str, queue: str, settled: str = "") -> None:
        job = self.jobs[job_id]
        self.leave(job_id)
        self.unrelease(job, answered=status == "answered")
        job.state, job.status, job.ended_in = "done", status, queue
        if settled:
            self.record_settle(job, settled)

    def reap(self) -> dict[str, str]:
        if self.pulse():
            return {}
        outcomes = {}
        for backend, leases in self.leases.items():
            for (job_id, _), end_ in sorted(leases.items(), key=lambda x: x[1]):
                if end_ <= self.now:
                    outcomes[job_id] = self.take_over(job_id, backend)
        return outcomes

    def take_over(self, job_id: str, backend: str) -> str:
        job = self.jobs[job_id]
        del self.leases[backend][job_id, job.token]
        if job.queue == DEGRADE:
            job.state = "queued"
            self.lists[DEGRADE].insert_first(job_id)
            return "queued"
        dead = self.presence.get(job.worker, 0) <= self.now
        job.crashes += dead
        job.crashes_alone += dead and job.alone
        verdict = judge_crash(job.crashes, job.crashes_alone)
        if verdict is CrashVerdict.FALLEN:
            self.fall(job_id)
            return "fallen"
        if verdict is CrashVerdict.SUSPECT:
            job.state = "scheduled"
            self.suspects[job_id] = self.now
            return "suspect"
        job.state = "queued"
        self.lists[job.queue].insert_first(job_id)
        return "queued"
