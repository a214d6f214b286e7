"""Keeps the directory of the gateway tidy: files that are over, and folders of batches that have ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

from openfall.producers.gateway.file_directory import FileDirectory
from openfall.router_core.batch_rules.batch_status import ENDED
from openfall.router_core.state.batches import LISTED_SECONDS, fetch_batch, reopen_batch
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.stored_files import delete_file, fetch_file, forget_data, removable_data, store_file

log = logging.getLogger("openfall.gateway")

INTERVAL_SECONDS = 60.0
ENDED_FOLDER_SECONDS = 600.0
"""A runner removes the folder of a batch that it ends; this is for one that was killed just then."""


async def keep_files_tidy(link: RedisConnection, directory: FileDirectory) -> None:
    """Examine the files that are due, once a minute. Several gateways of one directory may do so at once."""
    while True:
        try:
            await remove_dead_data(link, directory, time.time())
            await examine_folders(link, directory, time.time())
        except OSError as error:
            log.warning("files in %s cannot be removed: %s", directory.path, error.strerror)
        except StoreError:
            pass  # the next round tries again
        await asyncio.sleep(INTERVAL_SECONDS)


async def remove_dead_data(link: RedisConnection, directory: FileDirectory, now: float) -> None:
    """Remove the data of files that are over, and of ids without a record."""
    if not await asyncio.to_thread(directory.path.is_dir):
        return
    directory_id = await asyncio.to_thread(lambda: directory.id)
    for file_id in await removable_data(link, directory_id, now):
        file = await fetch_file(link, file_id)
        if file is not None and not file.is_over(now):
            await store_file(link, file)  # it is examined again when it expires
            continue
        if file is not None:
            await delete_file(link, file)
        with suppress(ValueError):  # no id of ours
            await asyncio.to_thread(directory.remove, file_id)
        await forget_data(link, directory_id, file_id)


async def examine_folders(link: RedisConnection, directory: FileDirectory, now: float) -> None:
    """A batch that has a folder and no end gets a runner, whatever happened to the list of such batches. The folder of
    one that has ended, or that Redis has not known for a month, is removed."""
    for folder in await asyncio.to_thread(_folders, directory.path / "batches"):
        batch = await fetch_batch(link, folder.name)
        if batch is not None and batch.status not in ENDED:
            await reopen_batch(link, batch.terms)
            continue
        age_seconds = now - await asyncio.to_thread(_changed_at, folder)
        if age_seconds > (ENDED_FOLDER_SECONDS if batch is not None else LISTED_SECONDS):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _folders(path: Path) -> list[Path]:
    return [folder for folder in path.iterdir() if folder.is_dir()] if path.is_dir() else []


def _changed_at(folder: Path) -> float:
    """Epoch seconds. 0: it is gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
