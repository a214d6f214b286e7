"""Cancels, replays or drops several jobs by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum

from openfall.producers.operations.held_actions import HeldSelection, drop_jobs, replay_jobs
from openfall.producers.operations.job_cancel import cancel_job
from openfall.producers.operations.operator import Operator


class JobVerb(StrEnum):
    """What an operator does to several jobs."""

    CANCEL = "cancel"
    REPLAY = "replay"
    DROP = "drop"


async def act_on_jobs(operator: Operator, verb: JobVerb, ids: Sequence[str]) -> str:
    """Cancel, replay or drop each job. Returns how many changed, in words. Only held jobs are replayed or dropped."""
    if verb is JobVerb.CANCEL:
        ended = await asyncio.gather(*(cancel_job(operator, job_id) for job_id in ids))
        return f"{sum(changed for _, changed in ended)} of {len(ids)} cancelled"
    selection = HeldSelection(ids=tuple(ids))
    if verb is JobVerb.DROP:
        return f"{len(await drop_jobs(operator, selection))} of {len(ids)} dropped"
    states = await replay_jobs(operator, selection)
    return f"{sum(state == 'queued' for state in states.values())} of {len(ids)} returned to their queues"
