"""Removes the data of files that were deleted, have expired, or were never completed."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from openfall.producers.gateway.file_directory import FileDirectory
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.stored_files import delete_file, fetch_file, forget_data, removable_data, store_file

log = logging.getLogger("openfall.door")

INTERVAL_SECONDS = 60.0


async def keep_files_tidy(link: RedisConnection, directory: FileDirectory) -> None:
    """Examine the files that are due, once a minute. Several doors of one directory may do so at once."""
    while True:
        try:
            await remove_dead_data(link, directory, time.time())
        except OSError as error:
            log.warning("files cannot be removed: %s", error)
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
