"""Reads a filter of jobs as a person writes it: in the options of a command, in the query of an address."""

from __future__ import annotations

from collections.abc import Iterable

from openfall.producers.job_request import parse_duration
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.recent_jobs import JOB_STATES, JobFilter
from openfall.router_core.vocabulary import Urgency

KNOWN_STATES = (*JOB_STATES, *(status.value for status in Status))


def read_filter(
    now: float, states: Iterable[str] = (), since: str | None = None, urgency: str | None = None, **names: str | None
) -> JobFilter:
    """The filter. `since` is a duration (`2h`) before `now`.

    Raises `UnknownName` for an unknown state or urgency, `BadRequest` for text that is no duration."""
    chosen = frozenset(states)
    for state in chosen:
        if state not in KNOWN_STATES:
            raise UnknownName("state", state, KNOWN_STATES)
    if urgency is not None and urgency not in set(Urgency):
        raise UnknownName("urgency", urgency, [each.value for each in Urgency])
    accepted_since = None if since is None else now - parse_duration(since, "since")
    return JobFilter(states=chosen, since=accepted_since, urgency=urgency, **names)
