"""The one place where profiles start and stop: a switch at a time, and requests that wait for theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.config import Manifest
from openfall.router_core.exit_text import describe_exit
from openfall.workers.local.errors import LocalError
from openfall.workers.sidecar.engine_command import check_profile
from openfall.workers.sidecar.make_room import leaving_for
from openfall.workers.sidecar.profile_service import CRASH_WINDOW_SECONDS, LoadError
from openfall.workers.sidecar.resident import Resident, ResidentState
from openfall.workers.sidecar.sidecar_errors import SidecarError

log = logging.getLogger("openfall.sidecar")

FAILED_LOAD_SECONDS = 60.0
"""A request does not start a profile again that failed within this time: that would evict the others for nothing."""
EPOCH_SECONDS = 60.0
"""How long after its last order a manager of cards fences the ones before it."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request that waits for a profile. `is_call`: it gets a call, not only the news that the profile is ready."""

    profile: str
    is_call: bool
    ready: asyncio.Future[Resident]
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class SwitchInProgress:
    """A load that is being made. `since` is monotonic."""

    profile: str
    since: float


@dataclass(frozen=True, slots=True)
class LastFailure:
    """Why a profile does not run, and until when a request does not start it again (monotonic)."""

    code: str
    message: str
    until: float

    def error(self) -> SidecarError:
        """The refusal of a request for the profile."""
        return SidecarError(self.code, self.message)


@dataclass(slots=True)
class Switcher:
    """Starts and stops the profiles of a manifest. All times are monotonic."""

    manifest: Manifest
    residents: dict[str, Resident] = field(default_factory=dict)
    failures: dict[str, LastFailure] = field(default_factory=dict)
    """By profile."""
    switch: SwitchInProgress | None = None
    _waiting: list[_Waiter] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _serving: asyncio.Task[None] | None = None
    _epoch: int = 0
    _epoch_at: float = 0.0

    async def reserve(self, name: str, *, may_load: bool) -> Resident:
        """A ready profile, with one more call, which `Resident.release` ends. Raises `SidecarError`."""
        resident = self.residents.get(name)
        if resident is not None and resident.is_ready:
            resident.calls += 1
            return resident
        if not may_load:
            failure = self.failures.get(name)
            raise failure.error() if failure else SidecarError("not_loaded", f"{name} is not loaded")
        return await self._wait(name, is_call=True)

    async def switch_to(self, name: str) -> Resident:
        """Make a profile ready. Others leave for it. Raises `SidecarError`."""
        if self.switch is not None and self.switch.profile != name:
            message = f"{self.switch.profile} is being loaded: send the request again when it is ready"
            raise SidecarError("switching", message)
        self.failures.pop(name, None)
        return await self._wait(name, is_call=False)

    async def load(self, name: str, epoch: int) -> None:
        """Load a profile beside the others, for a manager of cards. One that has crashed too often is not started again
        before ten minutes have passed, but by a person. Raises `SidecarError`."""
        self._fence(epoch)
        async with self._lock:
            resident = self.residents.get(name)
            if epoch and resident is not None and resident.gave_up_within(CRASH_WINDOW_SECONDS):
                raise self.failures[name].error()
            self.failures.pop(name, None)
            if leaving := self._leaving(name):
                needed, beside = self.manifest.profiles[name].vram_gb, ", ".join(leaving)
                size = "the whole card" if needed is None else f"{needed:g} GB"
                raise SidecarError("no_vram", f"{name} needs {size}, and does not fit beside {beside}")
            self._check(name)
            await self._make_ready(name)
            self._grant(self.residents[name])

    async def unload(self, name: str, epoch: int) -> None:
        """Stop a profile once its calls have ended. Raises `SidecarError`."""
        self._fence(epoch)
        await asyncio.shield(asyncio.create_task(self._unload(name), name=f"unload {name}"))

    async def close(self) -> None:
        """Stop everything. Requests that wait are refused."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        for waiter in self._waiting:
            if not waiter.ready.done():
                waiter.ready.set_exception(SidecarError("not_loaded", "the sidecar stops"))
        await asyncio.gather(*(resident.stop() for resident in self.residents.values()))

    @property
    def waiting_since(self) -> list[float]:
        """Since when each request waits."""
        return [waiter.since for waiter in self._waiting]

    def _fence(self, epoch: int) -> None:
        """Refuse the order of a manager that another one has replaced: it was frozen meanwhile. 0: of a person."""
        now = time.monotonic()
        if epoch and epoch < self._epoch and now - self._epoch_at < EPOCH_SECONDS:
            raise SidecarError("stale_epoch", f"epoch {epoch} is over: a newer manager has epoch {self._epoch}")
        if epoch:
            self._epoch, self._epoch_at = epoch, now

    async def _wait(self, name: str, *, is_call: bool) -> Resident:
        sections, failure = self.manifest.sections, self.failures.get(name)
        if failure is not None and failure.until > time.monotonic():
            raise failure.error()
        if len(self._waiting) >= sections.max_waiting:
            raise SidecarError("queue_full", f"{len(self._waiting)} requests wait for a profile already")
        waiter = _Waiter(name, is_call, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name="switches")
        try:
            await asyncio.wait({waiter.ready}, timeout=sections.max_wait)
        except asyncio.CancelledError:
            if is_call and waiter.ready.done() and waiter.ready.exception() is None:
                waiter.ready.result().release()
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        if not waiter.ready.done():
            raise SidecarError("timeout", f"{name} is not ready after {sections.max_wait:g} s: the load goes on")
        return waiter.ready.result()

    async def _unload(self, name: str) -> None:
        async with self._lock:
            await self._stop(name)

    async def _serve(self) -> None:
        """Make the profiles ready that requests wait for, in the order of the requests."""
        while self._waiting:
            async with self._lock:
                name = self._waiting[0].profile if self._waiting else ""
                if not name:
                    return
                try:
                    self._check(name)
                    for other in self._leaving(name):
                        await self._stop(other)
                    await self._make_ready(name)
                except SidecarError as error:
                    self._refuse(name, error)
                except Exception as error:
                    log.exception("%s: an unexpected error", name)
                    self._refuse(name, SidecarError("load_failed", f"{name}: an unexpected {type(error).__name__}"))
                else:
                    self._grant(self.residents[name])

    def _grant(self, resident: Resident) -> None:
        for waiter in [waiter for waiter in self._waiting if waiter.profile == resident.name]:
            self._waiting.remove(waiter)
            if not waiter.ready.done():
                resident.calls += waiter.is_call
                waiter.ready.set_result(resident)

    def _refuse(self, name: str, error: SidecarError) -> None:
        for waiter in [waiter for waiter in self._waiting if waiter.profile == name]:
            self._waiting.remove(waiter)
            if not waiter.ready.done():
                waiter.ready.set_exception(SidecarError(error.code, str(error)))

    def _leaving(self, name: str) -> tuple[str, ...]:
        """The profiles that leave for one that is not in memory."""
        occupants = [each for each in self.residents.values() if each.state is not ResidentState.ERROR]
        if any(each.name == name for each in occupants):
            return ()
        sections = self.manifest.sections
        return leaving_for(self.manifest.profiles[name].vram_gb, occupants, sections.vram_gb, sections.max_models)

    async def _make_ready(self, name: str) -> None:
        """Start a profile, or wait for its restart. Raises `SidecarError`."""
        if (resident := self.residents.get(name)) is not None:
            await resident.wait_until_settled()
            if resident.is_ready:
                return
            await self._stop(name)
            if resident.error and name in self.failures:
                raise self.failures[name].error()
        log.info("%s: starts", name)
        self.switch = SwitchInProgress(name, time.monotonic())
        resident = self.residents[name] = Resident(self.manifest, name, lambda event: self._note(name, event))
        try:
            await resident.load()
        except (LocalError, OSError) as error:
            self.residents.pop(name)
            raise self._failed(name, error) from None
        except BaseException:
            self.residents.pop(name)
            raise
        finally:
            self.switch = None

    def _check(self, name: str) -> None:
        """Refuse a profile that cannot be started, while the others still run."""
        try:
            check_profile(self.manifest, name)
        except LocalError as error:
            raise self._failed(name, error) from None

    def _failed(self, name: str, error: Exception) -> SidecarError:
        code = error.code if isinstance(error, LoadError) else "load_failed"
        failure = self.failures[name] = LastFailure(code, str(error), time.monotonic() + FAILED_LOAD_SECONDS)
        log.warning("%s", error)
        return failure.error()

    async def _stop(self, name: str) -> None:
        resident = self.residents.get(name)
        if resident is None:
            return
        resident.closing = True
        await resident.wait_until_idle(self.manifest.sections.drain)
        log.info("%s: stops", name)
        await resident.stop()
        self.residents.pop(name, None)

    def _note(self, name: str, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "ready":
                self.failures.pop(name, None)
                log.info("%s: ready after %.1f s (pid %d)", name, event["seconds"], event["pid"])
            case "exited":
                log.warning("%s: ended (%s), and is started again", name, describe_exit(event["code"]))
            case "restart_failed":
                log.warning("%s", event["error"])
            case "gave_up":
                message = f"{name}: {event['error']}. Send POST /models/switch to try again"
                self.failures[name] = LastFailure("load_failed", message, float("inf"))
                log.error("%s", message)
