"""Cancels, replays or drops several jobs, by their ids or by filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from openfall.producers.operations.held_actions import HeldSelection, drop_jobs, replay_jobs
from openfall.producers.operations.job_cancel import cancel_jobs
from openfall.producers.operations.operator import Operator
from openfall.router_core.state.job_search import find_held_job, find_job
from openfall.router_core.state.recent_jobs import JobFilter, list_jobs

PAGE_ROWS = 500
MAX_MATCHING = 100_000
"""Jobs that a filter selects at most: the last accepted ones."""


class JobVerb(StrEnum):
    """What an operator does to several jobs."""

    CANCEL = "cancel"
    REPLAY = "replay"
    DROP = "drop"

    @property
    def effect(self) -> str:
        """What a job is after it."""
        return {"cancel": "cancelled", "replay": "returned to its queue", "drop": "dropped"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSelection:
    """Jobs by their ids (or the first letters of them), or those that a filter selects. `typed`: the filter as a person
    wrote it, for the audit log."""

    ids: Sequence[str] = ()
    matching: JobFilter | None = None
    typed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.matching is not None:
            return " ".join(f"{name}={value}" for name, value in self.typed.items()) or "all"
        return name_ids(self.ids)


def name_ids(ids: Sequence[str]) -> str:
    """The first ids, and how many more there are."""
    rest = len(ids) - 3
    return " ".join(ids[:3]) + (f" and {rest} more" if rest > 0 else "")


async def find_jobs(operator: Operator, verb: JobVerb, selection: JobSelection) -> list[str]:
    """The whole ids of the selected jobs. A filter selects only jobs to which the verb can do something: held ones are
    replayed or dropped, and those without a result are cancelled. Raises `UnknownJob`, `AmbiguousId`."""
    if selection.matching is None:
        find = find_job if verb is JobVerb.CANCEL else find_held_job
        return list(dict.fromkeys([await find(operator.link, typed) for typed in selection.ids]))
    wanted, ids, before = replace(selection.matching, states=_states(verb, selection.matching)), list[str](), None
    while wanted.states:
        page = await list_jobs(operator.link, wanted, PAGE_ROWS, before=before, max_scripts=None)
        ids += [job.id for job in page.jobs]
        before = page.next_cursor
        if before is None or len(ids) >= MAX_MATCHING:
            break
    return list(dict.fromkeys(ids))[:MAX_MATCHING]


def _states(verb: JobVerb, wanted: JobFilter) -> frozenset[str]:
    """The states of a filter in which the verb can do something."""
    possible = {"held"} if verb is not JobVerb.CANCEL else {"queued", "scheduled", "started", "held"}
    return frozenset(possible & wanted.states if wanted.states else possible)


async def act_on_jobs(
    operator: Operator, verb: JobVerb, ids: Sequence[str], selection: JobSelection
) -> dict[str, bool]:
    """Cancel, replay or drop each job: its id, and whether it changed. Only held jobs are replayed or dropped.
    One line in the audit log names the whole ids, or the filter."""
    label = str(selection) if selection.matching is not None else name_ids(ids)  # whole ids
    if verb is JobVerb.CANCEL:
        return await cancel_jobs(operator, ids, label)
    held = HeldSelection(ids=tuple(ids), label=label)
    if verb is JobVerb.DROP:
        return dict.fromkeys(ids, False) | dict.fromkeys(await drop_jobs(operator, held), True)
    states = await replay_jobs(operator, held)
    return {job_id: states.get(job_id) == "queued" for job_id in ids}
