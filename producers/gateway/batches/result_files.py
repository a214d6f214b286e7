"""The output file and the error file of a batch. Writing them again replaces them by the same: any runner may do it."""

from __future__ import annotations

import asyncio
import re
import time
from array import array
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from openfall.producers.local_batches.batch_file_lines import MAX_LINE_BYTES
from openfall.router_core.state.stored_files import StoredFile, announce_data

if TYPE_CHECKING:
    from openfall.producers.gateway.batches.batch_journal import BatchJournal
    from openfall.producers.gateway.gateway import Gateway
    from openfall.router_core.state.batches import Batch

BATCH_OUTPUT = "batch_output"
OUTPUT_SECONDS = 30 * 86400


async def write_results(gateway: Gateway, batch: Batch, journal: BatchJournal) -> dict[str, StoredFile]:
    """Put the files of results on the disk: `output` and `error`, without those that would be empty.

    Their ids follow from that of the batch, so writing them again replaces them. Raises `OSError`, `StoreError`.
    """
    directory, terms = gateway.directory, batch.terms
    kinds = ("output",) if terms.form == "anthropic" else ("output", "error")
    ids = {kind: f"file-{sha256(f'{terms.id} {kind}'.encode()).hexdigest()[:24]}" for kind in kinds}
    for file_id in ids.values():
        await announce_data(gateway.client.store.connection, terms.directory, file_id, time.time())

    def write() -> None:
        parts = [directory.part(ids[kind]) for kind in kinds]
        journal.split(parts[0], parts[1] if len(parts) > 1 else None)
        for file_id in ids.values():
            directory.complete(file_id)

    await asyncio.to_thread(write)
    now = int(time.time())
    files = {}
    for kind, file_id in ids.items():
        size = directory.data(file_id).stat().st_size
        if size:
            files[kind] = StoredFile(
                id=file_id,
                producer=terms.producer,
                filename=f"{terms.id}_{kind}.jsonl",
                purpose=BATCH_OUTPUT,
                bytes=size,
                created_at=now,
                expires_at=now + (terms.output_seconds or OUTPUT_SECONDS),
                directory=terms.directory,
            )
        else:
            await asyncio.to_thread(directory.remove, file_id)
    return files


_INDEX = re.compile(rb'\{"id":"batch_req_[0-9a-f]{16}-(\d{1,9})"')
_ROWS = 64


async def sorted_rows(path: Path) -> AsyncIterator[bytes]:
    """The rows of a file. In memory is only where each of them begins."""
    order, offsets = await asyncio.to_thread(_scan, path)
    rest = iter(order)
    while part := list(islice(rest, _ROWS)):
        yield await asyncio.to_thread(_read, path, [offsets[place] for place in part])


def _scan(path: Path) -> tuple[array[int], array[int]]:
    """The places of the rows in the order of their lines, and the offsets of the rows."""
    indexes, offsets, offset = array("L"), array("Q"), 0
    with path.open("rb") as file:
        while row := file.readline(MAX_LINE_BYTES):
            match = _INDEX.match(row)
            indexes.append(int(match[1]) if match else len(indexes))
            offsets.append(offset)
            offset += len(row)
    return array("L", sorted(range(len(indexes)), key=indexes.__getitem__)), offsets


def _read(path: Path, offsets: list[int]) -> bytes:
    rows = []
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            rows.append(file.readline(MAX_LINE_BYTES))
    return b"".join(rows)
