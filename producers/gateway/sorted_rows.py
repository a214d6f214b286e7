"""The rows of an output file in the order of the lines of its input."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

from openfall.producers.batch.files import MAX_LINE_BYTES

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
