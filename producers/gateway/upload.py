"""Uploads: a body of multipart/form-data, written to the disk while it arrives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from io import FileIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.file_directory import FileDirectory, disk_errors
from openfall.producers.local_batches.batch_file_lines import write_all

MAX_FIELDS = 32
MAX_FIELD_BYTES = 4096
MAX_FILENAME = 255
CHUNK_BYTES = 2**20
"""What is gathered before it is written, in a thread."""
SILENCE_SECONDS = 30.0
"""An upload that sends nothing for this long is over."""
MAX_UPLOADS = 4
"""Uploads of one key at once, in one process of the gateway."""


@dataclass(slots=True)
class Upload:
    """A form with one file, whose data is in the part of `file_id`."""

    file_id: str
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0


def upload_slot(exchange: Exchange) -> AbstractContextManager[None]:
    """The time of one upload. Raises `Refusal` if the key sends too many at once."""
    what = f"do this {MAX_UPLOADS} times at once: wait"
    return exchange.gateway.uploads.slot(exchange.caller.name, MAX_UPLOADS, what)


async def receive(exchange: Exchange, directory: FileDirectory, file_id: str, max_bytes: int) -> Upload:
    """Write the file of a form to the disk, synced. Raises `Refusal`; then nothing of it is left."""
    content_type, options = parse_options_header(exchange.request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if content_type != b"multipart/form-data" or not boundary:
        raise Refusal("bad_request", "send the file as multipart/form-data, with the fields `file` and `purpose`")
    upload = Upload(file_id)
    try:
        with disk_errors(), await asyncio.to_thread(directory.open_part, file_id) as part:
            await _Receiver(upload, part, boundary, max_bytes).receive(exchange)
            await asyncio.to_thread(os.fsync, part.fileno())
        if upload.filename is None:
            raise Refusal("bad_request", "the form has no file: send it as the field `file`", "file")
    except BaseException:
        with suppress(OSError):
            directory.remove(file_id)
        raise
    return upload


async def receive_body(exchange: Exchange, directory: FileDirectory, file_id: str, max_bytes: int) -> str:
    """Write a whole body into the part of `file_id`, and return its digest. Raises `Refusal`, `OSError`."""
    size, digest = 0, sha256()
    pending = bytearray()
    with await asyncio.to_thread(directory.open_part, file_id) as part:
        async for chunk in _chunks(exchange):
            size += len(chunk)
            if size > max_bytes:
                limit = "raise `gateway: {max_batch_file: ...}`"
                raise Refusal("too_large", f"the body has more than the {max_bytes:,} bytes allowed: {limit}")
            digest.update(chunk)
            pending += chunk
            if len(pending) >= CHUNK_BYTES:
                await asyncio.to_thread(write_all, part, bytes(pending))
                pending.clear()
        await asyncio.to_thread(write_all, part, bytes(pending))
    return digest.hexdigest()


class _Receiver:
    """Reads one form. The parser calls back within `write`; what it reads of the file is then written in a thread."""

    def __init__(self, upload: Upload, part: FileIO, boundary: bytes, max_bytes: int) -> None:
        self._upload, self._part, self._max_bytes = upload, part, max_bytes
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._is_file, self._ended, self._fields = "", False, False, 0
        self._field = bytearray()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    async def receive(self, exchange: Exchange) -> None:
        try:
            async for chunk in _chunks(exchange):
                self._parser.write(chunk)
                if self._pending_bytes >= CHUNK_BYTES:
                    await self._write()
        except FormParserError as error:
            raise Refusal("bad_request", f"the form cannot be read: {error}") from None
        if not self._ended:
            raise Refusal("bad_request", "the form is cut off: its last boundary is missing")
        await self._write()

    async def _write(self) -> None:
        data, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
        await asyncio.to_thread(write_all, self._part, data)

    def _begin_part(self) -> None:
        self._disposition, self._name, self._is_file = b"", "", False
        self._field.clear()

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._is_file = self._name == "file"
        if self._is_file:
            if self._upload.filename is not None:
                raise Refusal("bad_request", "the form has two files: send one", "file")
            filename = options.get(b"filename", b"").decode(errors="replace")
            self._upload.filename = filename.replace("\\", "/").rpartition("/")[2][:MAX_FILENAME] or "upload"
        else:
            self._fields += 1  # also those with the same name: a form of millions would hold the event loop
            if self._fields > MAX_FIELDS:
                raise Refusal("bad_request", f"the form has more than {MAX_FIELDS} fields")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._field += data[start:end]
            if len(self._field) > MAX_FIELD_BYTES:
                raise Refusal("bad_request", f"a field of the form has more than {MAX_FIELD_BYTES} bytes", self._name)
            return
        self._upload.size += end - start
        if self._upload.size > self._max_bytes:
            raise Refusal(
                "too_large", f"the file has more than {self._max_bytes:,} bytes: raise `gateway: {{max_file: ...}}`"
            )
        self._pending.append(data[start:end])
        self._pending_bytes += end - start

    def _end_part(self) -> None:
        if not self._is_file:
            self._upload.fields[self._name] = self._field.decode(errors="replace")

    def _end(self) -> None:
        self._ended = True


async def _chunks(exchange: Exchange) -> AsyncIterator[bytes]:
    stream = exchange.request.stream()
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refusal("bad_request", f"nothing has arrived for {SILENCE_SECONDS:.0f} s: send it again") from None
        except ClientDisconnect:
            raise Refusal("cancelled", "the caller left before the file had arrived") from None
        if chunk is None:
            return
        yield chunk
