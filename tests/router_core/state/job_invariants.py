"""What must hold after every step of the machine of jobs, read from Redis without our code."""

from __future__ import annotations

from collections import defaultdict

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
        lists = self.queue_lists()
        expected: dict[str, list[tuple[str, str]]] = {}
        for job_id, job in self.model.jobs.items():
            expected[job_id] = {
                "queued": [("queue", job.queue)],
                "scheduled": [("scheduled", job.queue)],
                "started": [("wip", job.queue)],
                "held": [("deferred", job.queue)],
                "done": [(RQ_END.get(job.status, ("", ""))[1], job.ended_in)],
            }[job.state]
        pipe = self.store.pipeline(transaction=False)
        for queue in self.model.lists:
            pipe.hgetall("of:listed:" + queue)
        pipe.smembers("of:backlogs")
        pipe.smembers("rq:queues")
        *counted, registered, queues = pipe.execute()
        assert self._places(lists) == expected
        for (queue, waiting), row in zip(self.model.lists.items(), counted, strict=True):
            assert self.waiting_in(queue, lists) == (waiting.listed, waiting.backlogs)
            counts = {name.decode(): n.decode() for name, n in row.items()}
            if "*" in counts.values():
                assert waiting.counts().keys() <= counts.keys()
                assert len(counts) == 1
            else:
                assert {name: int(n) for name, n in counts.items()} == waiting.listed_counts()
        assert {f"rq:queue:{name}".encode() for name in lists if "~" in name} <= registered <= queues

    def queue_lists(self) -> dict[str, list[str]]:
        """The ids in the list of each queue and in each backlog, by its name."""
        keys = self.store.keys("rq:queue:*")
        pipe = self.store.pipeline(transaction=False)
        for key in keys:
            pipe.lrange(key, 0, -1)
        rows = zip(keys, pipe.execute(), strict=True)
        return {key.decode().removeprefix("rq:queue:"): [job_id.decode() for job_id in ids] for key, ids in rows}

    def waiting_in(self, queue: str, lists: dict[str, list[str]]) -> tuple[list[str], dict[str, list[str]]]:
        """The ids in the list of a queue, and those in its backlogs by producer."""
        backlogs = [ids for name, ids in lists.items() if name.startswith(queue + "~")]
        return lists.get(queue, []), {self.model.producer_of[ids[0]]: ids for ids in backlogs}

    def _places(self, lists: dict[str, list[str]]) -> dict[str, list[tuple[str, str]]]:
        pipe = self.store.pipeline(transaction=False)
        names = [(kind, queue) for queue in (SMOL, LARGE, DEGRADE) for kind in KINDS]
        for kind, queue in names:
            pipe.zrange(f"rq:{kind}:{queue}", 0, -1)
        places: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, members in zip(names, pipe.execute(), strict=True):
            for member in members:
                places[member.decode().split(":")[0]].append(name)
        for name, ids in lists.items():
            for job_id in ids:
                places[job_id].append(("queue", name.partition("~")[0]))
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
