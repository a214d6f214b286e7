"""Explains to a caller that a provider refuses the key of a backend: which key it is, and how to correct it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from openfall.config import LoadedConfig, key_place
from openfall.producers.client import AsyncOpenfall
from openfall.producers.outage_text import Away, fetch_away
from openfall.router_core.jobs.outcome import Attempt, describe_cause
from openfall.router_core.vocabulary import ErrorClass


async def explain_refused_keys(llm: AsyncOpenfall, job_id: str) -> list[str]:
    """A line for each backend of a job whose key is refused; empty: none is."""
    catalog = llm.config.catalog
    record, away = await asyncio.gather(llm.record(job_id), fetch_away(llm.store.connection, catalog))
    chain = record.job.chain if record.job is not None else ()
    used = {name for alias in chain if alias in catalog.models for name in catalog.models[alias].backends}
    refused = {**_by_breakers(away), **_by_attempts(record.attempts)}
    return [_explain(llm.config, name, word) for name, word in refused.items() if name in used]


def _by_breakers(away: Iterable[Away]) -> Mapping[str, str]:
    """The backends whose key is parked because it is wrong, and the cause."""
    keys = [item for item in away if item.model is None and item.error is ErrorClass.AUTH]
    return {name: item.cause for item in keys for name in item.backends}


def _by_attempts(attempts: Iterable[Attempt]) -> Mapping[str, str]:
    """The backends that refused their key in a call of the job, and what the provider said."""
    calls = [call for call in attempts if call.error is ErrorClass.AUTH]
    return {call.backend: call.detail or describe_cause(ErrorClass.AUTH, call.http_status) for call in calls}


def _explain(config: LoadedConfig, backend: str, word: str) -> str:
    return f"{backend} refuses its key: {word}. Correct {key_place(config, backend)}, then check it: openfall preflight"
