"""OpenAI's files: data for batches, on the disk of the gateway's host."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response, StreamingResponse

from openfall.producers.gateway.batches.result_files import BATCH_OUTPUT, sorted_rows
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.file_directory import disk_errors, new_file_id
from openfall.producers.gateway.file_expiry import expiry_of_upload
from openfall.producers.gateway.paging import newest_first, page_body, page_limit
from openfall.producers.gateway.routes import PAGE, TEXT, Endpoint, Schema, json_response
from openfall.producers.gateway.upload import Upload, receive, upload_slot
from openfall.producers.submit_retries import retry
from openfall.router_core.state import stored_files
from openfall.router_core.state.stored_files import FileQuery, StoredFile

PURPOSES = ("batch", "user_data")
MAX_LISTED = 10_000


async def upload(exchange: Exchange) -> Response:
    """Store a file."""
    gateway = exchange.gateway
    with upload_slot(exchange), disk_errors():
        directory = gateway.directory
        directory_id = await asyncio.to_thread(lambda: directory.id)
        file_id = new_file_id()
        form = await receive(exchange, directory, file_id, exchange.settings.max_file)
        try:
            file = _described_form(exchange, form, directory_id)
            link = exchange.link
            await retry(
                lambda: stored_files.announce_data(link, directory_id, file_id, time.time()), exchange.client.retry_for
            )
            await asyncio.to_thread(directory.complete, file_id)
            await retry(lambda: stored_files.store_file(link, file), exchange.client.retry_for)
        except BaseException:
            directory.remove(file_id)
            raise
    return json_response(file_object(file))


async def list_files(exchange: Exchange) -> Response:
    """List the files of the key."""
    query, caller = exchange.request.query_params, exchange.caller
    wanted = FileQuery(
        producer="" if caller.admin else caller.name,
        limit=page_limit(query, MAX_LISTED, MAX_LISTED),
        now=time.time(),
        after=query.get("after", ""),
        newest_first=newest_first(query),
        purpose=query.get("purpose", ""),
    )
    page = await stored_files.list_files(exchange.link, wanted)
    if page is None:
        raise Refusal("bad_request", "`after` names no file of this key", "after")
    files, has_more = page
    return json_response(page_body([*map(file_object, files)], has_more))


async def retrieve(exchange: Exchange) -> Response:
    """Describe a file."""
    return json_response(file_object(await own_file(exchange, exchange.request.path_params["id"])))


async def content(exchange: Exchange) -> Response:
    """Send the data of a file; with `order=input` the rows of a batch in the order of its lines."""
    file = await own_file(exchange, exchange.request.path_params["id"])
    path = await local_path(exchange, file)
    if file.purpose == BATCH_OUTPUT and exchange.request.query_params.get("order") == "input":
        return StreamingResponse(sorted_rows(path), media_type="application/octet-stream")
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


async def delete(exchange: Exchange) -> Response:
    """Delete a file. A batch that reads it goes on."""
    file = await own_file(exchange, exchange.request.path_params["id"])
    await stored_files.delete_file(exchange.link, file)
    with disk_errors():
        await asyncio.to_thread(exchange.gateway.directory.remove, file.id)
    return json_response({"id": file.id, "object": "file", "deleted": True})


async def own_file(exchange: Exchange, file_id: str) -> StoredFile:
    """A file of this key. One of another key does not exist. Raises `Refusal`."""
    file = await stored_files.fetch_file(exchange.link, file_id)
    caller = exchange.caller
    if file is None or file.is_over(time.time()) or (file.producer != caller.name and not caller.admin):
        raise Refusal("not_found", f"no file {file_id[:64]}: it was never uploaded here, was deleted, or has expired")
    return file


async def local_path(exchange: Exchange, file: StoredFile) -> Path:
    """Where the data of a file is on this host. Raises `Refusal` if this gateway does not have it."""
    directory = exchange.gateway.directory
    path = directory.data(file.id)
    with disk_errors():
        if await asyncio.to_thread(lambda: file.directory == directory.id and path.is_file()):
            return path
    raise Refusal(
        "elsewhere",
        f"the data of {file.id} is not in the directory of this gateway: ask the gateway that took it, or let the "
        "gateways share one directory (`gateway: {files: ...}`)",
    )


def file_object(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _described_form(exchange: Exchange, form: Upload, directory_id: str) -> StoredFile:
    """The record of an upload. Raises `Refusal`."""
    fields = form.fields
    purpose = fields.get("purpose")
    if purpose not in PURPOSES:
        shown = "is missing" if purpose is None else f"{purpose[:40]!r} is not served"
        raise Refusal("bad_request", f"`purpose` {shown}: send {' or '.join(PURPOSES)}", "purpose")
    now = int(time.time())
    seconds = expiry_of_upload(fields, purpose)
    return StoredFile(
        id=form.file_id,
        producer=exchange.caller.name,
        filename=form.filename or "",
        purpose=purpose,
        bytes=form.size,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
        directory=directory_id,
    )


FORM = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {**TEXT, "enum": list(PURPOSES)}},
    "required": ["file", "purpose"],
}
_DATA = "application/octet-stream"
_ORDER = {"order": {"enum": ["input"]}}
_LIST: dict[str, Schema] = {**PAGE, "order": {"enum": ["asc", "desc"]}, "purpose": TEXT}
ENDPOINTS = (
    Endpoint("POST", "/v1/files", upload, "Store a file.", form=FORM),
    Endpoint("GET", "/v1/files", list_files, "List the files of the key.", query=_LIST),
    Endpoint("GET", "/v1/files/{id}/content", content, "Send the data of a file.", query=_ORDER, media_type=_DATA),
    Endpoint("GET", "/v1/files/{id}", retrieve, "Describe a file."),
    Endpoint("DELETE", "/v1/files/{id}", delete, "Delete a file."),
)
