"""The files of the HTTP gateway: what is known of each. Their data is in a directory of the gateway's host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import EpochSeconds, read_model, read_text
from openfall.router_core.state.redis_connection import RedisConnection

REMOVAL_GRACE_SECONDS = 7 * 86400
"""How long the record of an expired file is kept: until then a gateway removes its data."""
UNFINISHED_UPLOAD_SECONDS = 86400
"""After this time the data of a file without a record is removed: its upload was cut off."""
_PAGE = 100


class StoredFile(BaseModel):
    """A file. `producer`: the key that owns it. `directory`: where its data is, by the id of that directory. Times are
    epoch seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    producer: str
    filename: str
    purpose: str
    bytes: int
    created_at: EpochSeconds
    expires_at: EpochSeconds | None = None
    directory: str

    def is_over(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now


async def announce_data(link: RedisConnection, directory: str, file_id: str, now: float) -> None:
    """The data of a file is about to be written into a directory. If no record follows, it is removed later."""
    due = int((now + UNFINISHED_UPLOAD_SECONDS) * 1000)
    await link.command("ZADD", keys.FILE_DATA + directory, due, file_id)


async def store_file(link: RedisConnection, file: StoredFile) -> None:
    """Write the record of a file whose data is on the disk."""
    await link.script("file_store", file_arguments(file), file.model_dump_json())


def file_arguments(file: StoredFile) -> dict[str, Any]:
    """The arguments of the script `file_store`."""
    keep_until = None if file.expires_at is None else (file.expires_at + REMOVAL_GRACE_SECONDS) * 1000
    return {
        "id": file.id,
        "producer": file.producer,
        "directory": file.directory,
        "created": file.created_at * 1000,
        "expires": None if file.expires_at is None else file.expires_at * 1000,
        "keep_until": keep_until,
    }


async def fetch_file(link: RedisConnection, file_id: str) -> StoredFile | None:
    """None: there is none, or it cannot be read. An expired file may still be there."""
    return _parse(link, file_id, await link.command("GET", keys.FILE + file_id))


def _parse(link: RedisConnection, file_id: str, packed: bytes | None) -> StoredFile | None:
    with link.notes.reading(keys.FILE + file_id):
        return read_model(StoredFile, packed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuery:
    """Which files are listed. `producer`: of this key; '': of all. `after`: those behind this file."""

    producer: str
    limit: int
    now: float
    after: str = ""
    newest_first: bool = True
    purpose: str = ""


async def list_files(link: RedisConnection, query: FileQuery) -> tuple[list[StoredFile], bool] | None:
    """A page of files, and whether there are more. None: the file `after` is unknown."""
    index = keys.FILES + query.producer
    first = 0
    if query.after:
        rank = await link.command("ZREVRANK" if query.newest_first else "ZRANK", index, query.after)
        if rank is None:
            return None
        first = rank + 1
    files: list[StoredFile] = []
    while len(files) <= query.limit:
        order = ("REV",) if query.newest_first else ()
        with link.notes.reading(index):
            ids = list(map(read_text, await link.command("ZRANGE", index, first, first + _PAGE - 1, *order)))
        if not ids:
            break
        first += len(ids)
        rows = await link.command("MGET", *(keys.FILE + file_id for file_id in ids))
        for file_id, packed in zip(ids, rows, strict=True):
            file = _parse(link, file_id, packed)
            if file is not None and not file.is_over(query.now) and query.purpose in ("", file.purpose):
                files.append(file)
    return files[: query.limit], len(files) > query.limit


async def delete_file(link: RedisConnection, file: StoredFile) -> None:
    """Forget a file. A gateway of its directory removes the data."""
    await link.script("file_delete", {"id": file.id, "producer": file.producer, "directory": file.directory})


async def removable_data(link: RedisConnection, directory: str, now: float) -> list[str]:
    """Files whose data in this directory may have to be removed. A name that cannot be read leaves the list: it would
    stand before the others for ever."""
    index = keys.FILE_DATA + directory
    rows = await link.command("ZRANGE", index, "-inf", int(now * 1000), "BYSCORE", "LIMIT", 0, _PAGE)
    with link.notes.reading(index):
        names = {row: read_text(row) for row in rows}
    if unreadable := [row for row, name in names.items() if name.encode() != row]:
        await link.command("ZREM", index, *unreadable)
    return [name for row, name in names.items() if row not in unreadable]


async def forget_data(link: RedisConnection, directory: str, file_id: str) -> None:
    """The data of a file is removed."""
    await link.command("ZREM", keys.FILE_DATA + directory, file_id)
