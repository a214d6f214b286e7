"""What must hold after every step of the machine of jobs, read from Redis without our code."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain

from hypothesis.stateful import invariant

from tests.router_core.state.reference_model import DEGRADE, KINDS, LARGE, RQ_END, RQ_STATUS, SLOTS, SMOL, Model
from tests.router_core.state.script_machine import ScriptMachine


class JobInvariants(ScriptMachine):
    """Redis has exactly the jobs, leases and lists of the model."""

    model: Model

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, bytes] = {}

    @invariant()
    def each_job_is_in_exactly_one_place(self) -> None:
        places = self._places()
        expected: dict[str, list[tuple[str, str]]] = {}
        for job_id, job in self.model.jobs.items():
            expected[job_id] = {
                "queued": [("queue", job.queue)],
                "scheduled": [("scheduled", job.queue)],
                "started": [("wip", job.queue)],
                "held": [("deferred", job.queue)],
                "done": [(RQ_END.get(job.status, ("", ""))[1], job.ended_in)],
            }[job.state]
        assert places == expected
        for queue, waiting in self.model.lists.items():
            assert (self.listed(queue), self.backlogs(queue)) == (waiting.listed, waiting.backlogs)
            counts = {name.decode(): n.decode() for name, n in self.store.hgetall("of:listed:" + queue).items()}
            if "*" in counts.values():
                assert waiting.counts().keys() <= counts.keys()
                assert len(counts) == 1
            else:
                assert {name: int(n) for name, n in counts.items()} == waiting.listed_counts()
        registered = self.store.smembers("of:backlogs")
        assert set(self.store.keys("rq:queue:*~*")) <= registered <= self.store.smembers("rq:queues")

    def listed(self, queue: str) -> list[str]:
        """The ids in the list of a queue."""
        return [job_id.decode() for job_id in self.store.lrange("rq:queue:" + queue, 0, -1)]

    def backlogs(self, queue: str) -> dict[str, list[str]]:
        """The ids in the backlogs of a queue, by producer."""
        lists = (self.listed(key.decode().removeprefix("rq:queue:")) for key in self.store.keys(f"rq:queue:{queue}~*"))
        return {self.model.producer_of[waiting[0]]: waiting for waiting in lists}

    def _places(self) -> dict[str, list[tuple[str, str]]]:
        pipe = self.store.pipeline(transaction=False)
        for queue in (SMOL, LARGE, DEGRADE):
            pipe.lrange("rq:queue:" + queue, 0, -1)
            for kind in KINDS:
                pipe.zrange(f"rq:{kind}:{queue}", 0, -1)
        names = [(kind, queue) for queue in (SMOL, LARGE, DEGRADE) for kind in ("queue", *KINDS)]
        places: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, members in zip(names, pipe.execute(), strict=True):
            for member in members:
                places[member.decode().split(":")[0]].append(name)
        for queue in (SMOL, LARGE, DEGRADE):
            for job_id in chain.from_iterable(self.backlogs(queue).values()):
                places[job_id].append(("queue", queue))
        return places

    @invariant()
    def each_record_equals_the_model(self) -> None:
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
                assert self.results.setdefault(job_id, result) == result, "the terminal result never changes"

    @invariant()
    def leases_are_those_of_started_jobs_and_never_more_than_the_slots(self) -> None:
        for backend, leases in self.model.leases.items():
            ends = dict(self.store.zrange("of:leases:" + backend, 0, -1, withscores=True))
            assert {member.decode(): score for member, score in ends.items()} == {
                f"{job_id}:{token}": until * 1000 for (job_id, token), until in leases.items()
            }
            assert len(ends) <= SLOTS[backend]
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
            scores = dict(self.store.zrange(key, 0, -1, withscores=True))
            assert {i.decode(): score / 1000 for i, score in scores.items()} == expected
