"""Runs the sidecar: its address, its servers, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator

from aiohttp import web

from openfall.config import Manifest
from openfall.workers.local.child import Child
from openfall.workers.local.locks import only_one
from openfall.workers.local.pidfile import read_record
from openfall.workers.local.private_files import make_private
from openfall.workers.service_manager import ServiceManager
from openfall.workers.sidecar.profile_service import STOP_GRACE_SECONDS
from openfall.workers.sidecar.proxy import Upstream
from openfall.workers.sidecar.sidecar_api import SidecarApi
from openfall.workers.sidecar.sidecar_errors import SidecarError
from openfall.workers.sidecar.switcher import Switcher
from openfall.workers.stop_signals import handle_stop_signals

log = logging.getLogger("openfall.sidecar")

SHUTDOWN_SECONDS = 2.0
"""How long requests may take to end after a signal."""


class CannotServe(Exception):
    """The address cannot be used. The message names the remedy."""


async def serve(manifest: Manifest, manager: ServiceManager) -> None:
    """Serve until a signal; then stop every server. Raises `CannotServe`, `LocalError`."""
    make_private(manifest.data_dir)
    stop = asyncio.Event()
    handle_stop_signals(stop.set, stop.set)
    with only_one(manifest.data_dir / "sidecar.lock", "openfall sidecar"):
        await _stop_leftovers(manifest)
        async with running(manifest) as (switcher, url):
            log.info("%d profiles at %s", len(manifest.profiles), url)
            preloading = asyncio.create_task(_preload(manifest, switcher), name="preload")
            watchdog = asyncio.create_task(manager.stay_alive(), name="watchdog")
            manager.ready(f"{len(manifest.profiles)} profiles at {url}")
            await stop.wait()
            manager.stopping(STOP_GRACE_SECONDS)
            preloading.cancel()
            watchdog.cancel()


@contextlib.asynccontextmanager
async def running(manifest: Manifest) -> AsyncIterator[tuple[Switcher, str]]:
    """The sidecar of a manifest, and its address."""
    switcher, upstream = Switcher(manifest), Upstream()
    host, _, port = manifest.sections.listen.rpartition(":")
    runner = web.AppRunner(
        SidecarApi(switcher, upstream).application(), handler_cancellation=True, access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )  # fmt: skip
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, None if host == "*" else host.strip("[]"), int(port)).start()
        except OSError as error:
            reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
            remedy = "Stop the other program, or choose another address under `listen`"
            raise CannotServe(f"cannot listen on {manifest.sections.listen}: {reason}. {remedy}") from None
        address = runner.addresses[0]
        yield switcher, f"http://{host or address[0]}:{address[1]}"
    finally:
        await runner.cleanup()
        await switcher.close()
        await upstream.close()


async def _preload(manifest: Manifest, switcher: Switcher) -> None:
    for named in manifest.sections.preload:
        if name := manifest.find(named):
            with contextlib.suppress(SidecarError):  # it is logged, and in the status
                await switcher.switch_to(name)


async def _stop_leftovers(manifest: Manifest) -> None:
    """Stop the servers of a sidecar that was killed, where the system has not (it is not Linux, or one ignored it)."""
    for path in manifest.data_dir.glob("profile-*.pid"):
        record = read_record(path)
        if record is not None and record.child.alive() and record.orphaned():
            log.warning("stops a server of an earlier sidecar (pid %d)", record.child.pid)
            await Child(identity=record.child, log=path).stop(STOP_GRACE_SECONDS)
        path.unlink(missing_ok=True)
