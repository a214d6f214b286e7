"""Batches of the HTTP gateway: created by any gateway, run by one at a time, read by all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from openfall.router_core.batch_rules.batch_status import CANCELLABLE, BatchStatus
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import (
    EpochSeconds,
    read_json,
    read_model,
    read_moment,
    read_number,
    read_object,
    read_text,
)
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.unknown_words import carry_word

KEEP_SECONDS = 30 * 86400
"""How long a batch that has ended can be read."""
LISTED_SECONDS = KEEP_SECONDS + 10 * 86400

Form = Literal["openai", "anthropic"]


class BatchTerms(BaseModel):
    """What never changes of a batch. `form`: the API that created it. `directory`: where its files are, by its id.
    `names`: what its key may ask for; empty: everything. `options`: those of all its jobs. `digest`: of the request of
    its creation. Times are epoch seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    form: Form
    producer: str
    endpoint: str
    directory: str
    created_at: EpochSeconds
    deadline: EpochSeconds
    window: str = "24h"
    input_file_id: str | None = None
    metadata: dict[str, str] | None = None
    names: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    output_seconds: int | None = None
    webhook: str | None = None
    digest: str = ""

    @property
    def inbox(self) -> str:
        return f"batch.{self.id}"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands. `moments`: when it had which status (epoch seconds). `submitted`: how many of its lines are
    jobs. `errors`: why it failed. `why`: what its runner waits for. `usage` has OpenAI's form; None: no line
    reports any."""

    terms: BatchTerms
    status: BatchStatus
    total: int
    counts: Mapping[str, int]
    submitted: int
    moments: Mapping[str, float]
    errors: Sequence[Mapping[str, Any]]
    output_file_id: str | None
    error_file_id: str | None
    why: str
    runner: str
    usage: Mapping[str, Any] | None


COUNTS = ("succeeded", "errored", "cancelled", "expired")


async def create_batch(link: RedisConnection, terms: BatchTerms) -> tuple[BatchTerms, bool]:
    """Write down a batch. Returns the terms of the one that has this id, and whether it was there before."""
    arguments = {
        "id": terms.id,
        "form": terms.form,
        "producer": terms.producer,
        "directory": terms.directory,
        "keep_ms": LISTED_SECONDS * 1000,
    }
    reply = await link.script("batch_create", arguments, terms.model_dump_json())
    with link.notes.reading(keys.BATCH + terms.id):
        return read_model(BatchTerms, reply[1]) or terms, not reply[0]


async def fetch_batch(link: RedisConnection, batch_id: str) -> Batch | None:
    """None: there is none, or it cannot be read."""
    row = pairs(await link.command("HGETALL", keys.BATCH + batch_id))
    with link.notes.reading(keys.BATCH + batch_id):
        return _batch(row)


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """Which batches are listed, the newest first. `producer`: of this key; '': of all. `after`: those that are older
    than this batch; `before`: those that are newer."""

    form: Form
    producer: str
    limit: int
    after: str = ""
    before: str = ""


async def list_batches(link: RedisConnection, query: BatchQuery) -> tuple[list[Batch], bool] | None:
    """A page of batches, and whether there are more. None: a cursor is unknown."""
    index, first, end = f"{keys.BATCHES}{query.form}:{query.producer}", 0, -1
    if cursor := query.after or query.before:
        rank = await link.command("ZREVRANK", index, cursor)
        if rank is None:
            return None
        first, end = (rank + 1, -1) if query.after else (max(0, rank - query.limit), rank - 1)
    batches: list[Batch] = []
    while len(batches) <= query.limit:
        last = first + query.limit if end < 0 else min(end, first + query.limit)
        rows = await link.command("ZRANGE", index, first, last, "REV") if last >= first else ()
        with link.notes.reading(index):
            ids = list(map(read_text, rows))
        if not ids:
            break
        first += len(ids)
        batches += filter(None, await asyncio.gather(*(fetch_batch(link, each) for each in ids)))
    has_more = len(batches) > query.limit or (bool(query.before) and max(0, end + 1 - query.limit) > 0)
    return batches[: query.limit], has_more


async def cancel_batch(link: RedisConnection, batch_id: str) -> str:
    """Let the runner of a batch end it. Returns its status before."""
    reply = await link.script("batch_cancel", {"id": batch_id, "from": CANCELLABLE})
    return read_text(reply[0])


async def reopen_batch(link: RedisConnection, terms: BatchTerms) -> None:
    """Let a batch that has not ended have a runner, if the list of such batches has lost it."""
    await link.command("ZADD", keys.OPEN_BATCHES + terms.directory, "NX", 0, terms.id)


async def delete_batch(link: RedisConnection, batch: Batch) -> None:
    """Forget a batch that has ended."""
    terms = batch.terms
    for index in (f"{keys.BATCHES}{terms.form}:{terms.producer}", f"{keys.BATCHES}{terms.form}:"):
        await link.command("ZREM", index, terms.id)
    await link.command("DEL", keys.BATCH + terms.id)


def _batch(row: Mapping[str, bytes]) -> Batch | None:
    terms = read_model(BatchTerms, row.get("batch"))
    if terms is None:
        return None
    errors = read_json(row.get("errors"))
    return Batch(
        terms=terms,
        status=carry_word(BatchStatus, read_text(row.get("status"))),
        total=read_number(row.get("total")),
        counts={name: read_number(row.get(name)) for name in COUNTS},
        submitted=read_number(row.get("submitted")),
        moments={status: read_moment(row[f"{status}_at"]) for status in BatchStatus if f"{status}_at" in row},
        errors=[each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else (),
        output_file_id=read_text(row.get("output_file_id")) or None,
        error_file_id=read_text(row.get("error_file_id")) or None,
        why=read_text(row.get("why")),
        runner=read_text(row.get("runner")),
        usage=read_object(row.get("usage")),
    )
