"""Traces of jobs for models that do not all fit a card. Each is a function of its seed.

Lengths of prompts and answers follow the quantiles of Azure's LLM inference traces of 2023 (conversation and code; one
hour each, github.com/Azure/AzurePublicDataset, CC-BY). Sizes and load times are those of the example configurations;
speeds are round figures for 4-bit weights on a card of 24 GB: assumptions, not measurements.
"""

from __future__ import annotations

import csv
import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.swaps.card_simulator import BACKGROUND, BATCH, INTERACTIVE, NEVER, SimJob, SimModel, Trace

TINY = SimModel("tiny-3b", 2.5, 4, 4, 90, 4000)
CHAT = SimModel("chat-8b", 5, 8, 4, 60, 2500)
THINK = SimModel("think-14b", 9, 15, 4, 38, 1400)
WRITE = SimModel("write-24b", 14, 22, 4, 26, 900)
REASON = SimModel("reason-32b", 18, 30, 2, 22, 700)
CODE = SimModel("code-32b", 20, 35, 2, 21, 650)

CARD_24 = (("card", 24.0),)
HOUR = 3600.0
_SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_TOKENS_READ = (3, 181, 396, 1020, 1189, 2734, 4083, 4142, 14050)
_TOKENS_WRITTEN = (7, 41, 85, 129, 395, 424, 451, 601, 1000)
_MEAN_READ, _MEAN_WRITTEN = 1155, 211
MAX_PROMPT = 8000


@dataclass(frozen=True)
class JobTerms:
    """`deadline`: seconds from arrival. `cloud`: a cloud model may take it. `part` of the usual lengths."""

    deadline: float = NEVER
    cloud: bool = False
    part: float = 1.0


USUAL, HALF, MAY_LEAVE = JobTerms(), JobTerms(part=0.5), JobTerms(cloud=True)


class JobWriter:
    """Writes jobs with lengths drawn from the quantiles."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.jobs: list[SimJob] = []

    def add(self, model: SimModel, urgency: int, at: float, terms: JobTerms = USUAL) -> SimJob:
        """One job."""
        read = min(self._length(_TOKENS_READ), MAX_PROMPT) * terms.part
        written = max(1.0, self._length(_TOKENS_WRITTEN) * terms.part)
        seconds = model.call_seconds(read, written)
        job = SimJob(len(self.jobs), model.name, urgency, at, seconds, at + terms.deadline, terms.cloud)
        self.jobs.append(job)
        return job

    def poisson(self, model: SimModel, urgency: int, rate: float, end: float, terms: JobTerms = USUAL) -> None:
        """Jobs at random, `rate` a second."""
        at = self.chance.expovariate(rate)
        while at < end:
            self.add(model, urgency, at, terms)
            at += self.chance.expovariate(rate)

    def sessions(self, model: SimModel, every: float, end: float) -> None:
        """People: a session about every `every` seconds, of six turns; half a minute to read and think between them."""
        at = self.chance.expovariate(1 / every)
        while at < end:
            turn_at = at
            while turn_at < end:
                job = self.add(model, INTERACTIVE, turn_at, MAY_LEAVE)
                if self.chance.random() < 1 / 6:
                    break
                turn_at += job.work_seconds + 25 * math.exp(0.9 * self.chance.gauss(0, 1))
            at += self.chance.expovariate(1 / every)

    def backlog(self, work: Sequence[tuple[SimModel, float]], begin: float, over: float) -> None:
        """Batch jobs in mixed order over `over` seconds. `work`: each model and its seconds on the card."""
        written = []
        for model, seconds in work:
            planned = 0.0
            while planned < seconds:
                job = self.add(model, BATCH, begin)
                planned += job.work_seconds / model.slots
                written.append(job)
        self.chance.shuffle(written)
        for number, job in enumerate(written):
            job.accepted_at = begin + over * number / max(1, len(written))

    def _length(self, table: Sequence[int]) -> float:
        share = self.chance.random()
        i = max(1, bisect_left(_SHARES, share))
        part = (share - _SHARES[i - 1]) / (_SHARES[i] - _SHARES[i - 1])
        return table[i - 1] + part * (table[i] - table[i - 1])


def night(seed: int, jobs: int = 5000) -> Trace:
    """5,000 batch jobs for six models, in mixed order, within a minute."""
    writer, models = JobWriter(seed), (TINY, CHAT, THINK, WRITE, REASON, CODE)
    for number in range(jobs):
        writer.add(models[writer.chance.randrange(6)], BATCH, 60 * number / jobs)
    return Trace(models, CARD_24, writer.jobs)


def studio(seed: int, part: float = 1.0) -> Trace:
    """Eight hours of people on two models, over 4.25 hours of batch for four others."""
    writer, end = JobWriter(seed), 8 * HOUR * part
    writer.sessions(CHAT, 600, end)
    writer.sessions(THINK, 900, end)
    work = ((TINY, 1800 * part), (WRITE, 4500 * part), (REASON, 4500 * part), (CODE, 4500 * part))
    writer.backlog([(model, 0.8 * seconds) for model, seconds in work], 0, 60)
    writer.backlog([(model, 0.2 * seconds) for model, seconds in work], 600, 0.6 * end)
    return Trace((CHAT, THINK, TINY, WRITE, REASON, CODE), CARD_24, writer.jobs)


def mixed(seed: int) -> Trace:
    """Six hours of people on two models, background jobs for two, batch for four."""
    writer, end = JobWriter(seed), 6 * HOUR
    writer.sessions(CHAT, 600, end)
    writer.sessions(THINK, 900, end)
    for model in (WRITE, TINY):
        writer.poisson(model, BACKGROUND, 1 / 120, end, JobTerms(1800, cloud=True))
    writer.backlog(((TINY, 1000), (WRITE, 2000), (REASON, 2000), (CODE, 2000)), 0, 60)
    return Trace((CHAT, THINK, TINY, WRITE, REASON, CODE), CARD_24, writer.jobs)


def abab(seed: int, every: float = 10.0, each: int = 200) -> Trace:
    """Interactive jobs for two models that cannot share the card, in turn, faster than it loads."""
    writer = JobWriter(seed)
    for number in range(2 * each):
        writer.add((REASON, CODE)[number % 2], INTERACTIVE, every * number, JobTerms(cloud=True, part=0.5))
    return Trace((REASON, CODE), CARD_24, writer.jobs)


def abab_slow(seed: int) -> Trace:
    """The same, one a minute."""
    return abab(seed, 60.0, 100)


def bots(seed: int, hours: float = 3.0) -> Trace:
    """Programs at random for three models of which no two share the card: a fifth interactive, half background."""
    writer, end = JobWriter(seed), hours * HOUR
    for model in (WRITE, REASON, CODE):
        rate = 0.5 / 3 / _usual_share(model)
        writer.poisson(model, INTERACTIVE, 0.2 * rate, end, JobTerms(120, cloud=True, part=0.5))
        writer.poisson(model, BACKGROUND, 0.5 * rate, end, JobTerms(900, cloud=True, part=0.5))
        writer.poisson(model, BATCH, 0.3 * rate, end, JobTerms(3600, part=0.5))
    return Trace((WRITE, REASON, CODE), CARD_24, writer.jobs)


def bots_sparse(seed: int) -> Trace:
    """The same programs, background and batch only, at a third of what the card can do."""
    writer, end = JobWriter(seed), 3 * HOUR
    for model in (WRITE, REASON, CODE):
        rate = 0.33 / 3 / _usual_share(model)
        writer.poisson(model, BACKGROUND, 0.5 * rate, end, JobTerms(900, cloud=True, part=0.5))
        writer.poisson(model, BATCH, 0.5 * rate, end, JobTerms(3600, part=0.5))
    return Trace((WRITE, REASON, CODE), CARD_24, writer.jobs)


def two_cards(seed: int) -> Trace:
    """Cards of 24 and 12 GB; people on two models, background on a third, batch on three."""
    writer, end = JobWriter(seed), 4 * HOUR
    writer.sessions(CHAT, 600, end)
    writer.sessions(THINK, 900, end)
    writer.poisson(WRITE, BACKGROUND, 1 / 60, end, JobTerms(900, cloud=True))
    writer.backlog(((TINY, 3000), (REASON, 3000), (CODE, 3000)), 0, 60)
    return Trace((CHAT, THINK, TINY, WRITE, REASON, CODE), (("big", 24.0), ("small", 12.0)), writer.jobs)


def chatter(seed: int) -> Trace:
    """People who never pause on one model; batch and a few background jobs for two that do not fit beside it."""
    writer, end = JobWriter(seed), 4 * HOUR
    writer.poisson(WRITE, INTERACTIVE, 1 / 10, end, MAY_LEAVE)
    writer.poisson(CODE, BACKGROUND, 1 / 600, end, HALF)
    for _ in range(300):
        writer.add(REASON, BATCH, 0.0)
    return Trace((WRITE, CODE, REASON), CARD_24, writer.jobs)


def flooded(seed: int, batch_model: SimModel | None, *, batch: int = 10_000, pinned: bool = False) -> Trace:
    """Six hours of people on one model of 9 GB, while batch jobs for a model are queued (None: an empty system)."""
    writer = JobWriter(seed)
    writer.sessions(THINK, 300, 6 * HOUR)
    for _ in range(batch if batch_model else 0):
        writer.add(batch_model or THINK, BATCH, 0.0)
    think = SimModel(THINK.name, THINK.vram_gb, THINK.load_seconds, 4, THINK.write_rate, THINK.read_rate, pinned)
    return Trace((think, WRITE, REASON), CARD_24, writer.jobs)


def azure(folder: Path, seed: int) -> Trace:
    """An hour of Azure's traces, thinned: conversation on 8b, code on 32b, over batch for two others."""
    writer = JobWriter(seed)
    for name, model, share in (("conv", CHAT, 0.02), ("code", CODE, 0.05)):
        for at, read, written in _azure_rows(folder / f"{name}.csv"):
            if writer.chance.random() < share:
                seconds = model.call_seconds(read, written)
                writer.jobs.append(SimJob(len(writer.jobs), model.name, INTERACTIVE, at, seconds, may_leave=True))
    writer.backlog(((THINK, 600), (WRITE, 600)), 0, 60)
    return Trace((CHAT, CODE, THINK, WRITE), CARD_24, writer.jobs)


def _azure_rows(path: Path) -> Iterator[tuple[float, int, int]]:
    begin: float | None = None
    with path.open() as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            begin = at if begin is None else begin
            yield at - begin, int(row["ContextTokens"]), int(row["GeneratedTokens"])


def _usual_share(model: SimModel) -> float:
    """The card time of a usual call of half the length."""
    return model.call_seconds(_MEAN_READ / 2, _MEAN_WRITTEN / 2) / model.slots


TRACES: dict[str, Callable[[int], Trace]] = {
    "night": night, "studio": studio, "mixed": mixed, "abab": abab, "abab_slow": abab_slow, "bots": bots,
    "bots_sparse": bots_sparse, "two_cards": two_cards, "chatter": chatter,
}  # fmt: skip
