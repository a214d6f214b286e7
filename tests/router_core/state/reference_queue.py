"""A plain model of a queue whose producers take turns."""

from __future__ import annotations

from collections.abc import Mapping


class ReferenceQueue:
    """The list of the next jobs, and the backlogs of producers. `producer_of` has the producer of each job."""

    def __init__(self, producer_of: Mapping[str, str]) -> None:
        self.producer_of = producer_of
        self.listed: list[str] = []
        self.backlogs: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self.listed) + sum(map(len, self.backlogs.values()))

    def counts(self) -> dict[str, int]:
        """How many jobs of each producer wait."""
        waiting = [*self.listed, *(job for backlog in self.backlogs.values() for job in backlog)]
        names = [self.producer_of[job] for job in waiting]
        return {name: names.count(name) for name in names}

    def listed_counts(self) -> dict[str, int]:
        """How many jobs of each producer are in the list; of all in backlogs under the empty name."""
        names = [self.producer_of[job] for job in self.listed]
        backlogged = len(self) - len(names)
        return {name: names.count(name) for name in names} | ({"": backlogged} if backlogged else {})

    def next_position(self, producer: str) -> int:
        counts = self.counts()
        producers = counts.keys() | {producer}
        return min(len(self) + 1, (counts.get(producer, 0) + 1) * len(producers))

    def append(self, job: str) -> None:
        producer = self.producer_of[job]
        is_first, is_alone = producer not in self.counts(), self.counts().keys() <= {producer}
        self._begin_turns(producer)
        if is_first or (is_alone and producer not in self.backlogs):
            self.listed.append(job)
        else:
            self.backlogs.setdefault(producer, []).append(job)

    def insert_first(self, job: str) -> None:
        self._begin_turns(self.producer_of[job])
        self.listed.insert(0, job)

    def _begin_turns(self, newcomer: str) -> None:
        """The jobs of the only producer before become its backlog, but for one."""
        others = list(self.counts())
        if len(others) == 1 and newcomer not in others and not self.backlogs and len(self.listed) > 1:
            self.backlogs[others.pop()] = self.listed[1:]
            del self.listed[1:]

    def pop_first(self) -> str:
        job = self.listed[0]
        self.remove(job)
        return job

    def remove(self, job: str) -> None:
        producer = self.producer_of[job]
        backlog = self.backlogs.get(producer, [])
        (self.listed if job in self.listed else backlog).remove(job)
        if backlog and all(self.producer_of[other] != producer for other in self.listed):
            self.listed.append(backlog.pop(0))
        if not backlog:
            self.backlogs.pop(producer, None)
