"""Runs the gateway: one process, or several that share its sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

import uvicorn

from openfall.config import LoadedConfig
from openfall.config.gateway_settings import PageKind
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.access import refuse_exposed
from openfall.producers.gateway.app import App
from openfall.producers.gateway.gateway import Gateway
from openfall.producers.gateway.http_connection import HttpConnection
from openfall.producers.page.rendering import compile_templates
from openfall.router_core.state.client_keys import fetch_keys
from openfall.workers.stop_signals import ignore_user_signals, stop_signals

log = logging.getLogger("openfall.gateway")

BACKLOG = 2048
GRACE_SECONDS = 10
"""How long a gateway that stops waits for responses that are being written. No job ends with it."""
KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept for longer than proxies keep theirs (60 s), so that they close first."""
RESTART_SECONDS, UNUSABLE_RESTART_SECONDS = 0.5, 2.0

READY_LINE = b'{"event": "ready"}\n'
"""What a process of the gateway writes to standard output when it is ready, if it is to announce that."""

USAGE_ERROR = 2
"""The exit code of a process that cannot be used as it is configured: it is not started again."""


class Manager(Protocol):
    """Who wants to know what this process does: see `workers.service_manager`."""

    def ready(self) -> None: ...
    def alive(self) -> None: ...
    def stopping(self, grace_seconds: float) -> None: ...
    async def stay_alive(self) -> None: ...


class CannotListen(Exception):
    """An address cannot be listened on, or must not be. The message names the remedy."""


async def serve(
    loaded: LoadedConfig,
    manager: Manager,
    on_load: Callable[[LoadedConfig], None],
    sockets: Sequence[socket.socket] = (),
) -> None:
    """Serve until a signal to stop, on the configured addresses or on these sockets. `on_load` is called with each
    valid change of the configuration.

    Raises `CannotListen`, `NoRedis`, `StoreError`.
    """
    gateway = Gateway.of(AsyncOpenfall(config=loaded), on_load)
    keys = await fetch_keys(gateway.client.store.connection)
    if why := refuse_exposed(gateway.settings, keys):
        await gateway.client.close()
        raise CannotListen(why)
    with listening_sockets(gateway.settings.listen) if not sockets else _given(sockets) as own:
        await Server(gateway, manager).serve(own)


async def serve_processes(loaded: LoadedConfig, arguments: Sequence[str], manager: Manager) -> None:
    """Open the addresses, and keep `gateway: processes` processes that serve them until a signal to stop.

    Raises `CannotListen` if one cannot be used as it is configured; its log says why.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    ignore_user_signals()
    with listening_sockets(loaded.settings.gateway.listen) as sockets:
        numbers = [each.fileno() for each in sockets]
        alive, held = os.pipe()  # the read end of each process ends when this process does, however it does
        command = [sys.executable, "-m", "openfall.producers.gateway", *arguments]
        command += ["--announce", "--sockets", ",".join(map(str, numbers)), "--alive", str(alive)]
        count = loaded.settings.gateway.processes
        started = asyncio.Queue[None]()
        restarters = [asyncio.create_task(_restart(command, (*numbers, alive), started)) for _ in range(count)]
        work = asyncio.create_task(_until_stopped(count, started, stop, manager))
        watchdog = asyncio.create_task(manager.stay_alive())
        try:
            done, _ = await asyncio.wait([work, *restarters], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            manager.stopping(GRACE_SECONDS)
            for task in (work, watchdog, *restarters):
                task.cancel()
            await asyncio.gather(*restarters, return_exceptions=True)
            os.close(held)
            os.close(alive)


async def _until_stopped(count: int, started: asyncio.Queue[None], stop: asyncio.Event, manager: Manager) -> None:
    for _ in range(count):
        await started.get()
    manager.ready()
    await stop.wait()


async def _restart(command: Sequence[str], descriptors: Sequence[int], started: asyncio.Queue[None]) -> None:
    """Run one process, and start it again whenever it ends. A cancellation stops it.

    Raises `CannotListen` if the first one cannot be used as it is configured. A later one may meet a file that is
    invalid since a change: it is started again until the file is right, while the other processes serve.
    """
    was_ready = False
    while True:
        process = await asyncio.create_subprocess_exec(
            *command, pass_fds=descriptors, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        try:
            if process.stdout is not None and await process.stdout.readline() == READY_LINE:
                was_ready = True
                started.put_nowait(None)
            is_unusable = await process.wait() == USAGE_ERROR
            if is_unusable and not was_ready:
                raise CannotListen("the processes of the gateway cannot be used as they are configured: see the log")
            await asyncio.sleep(UNUSABLE_RESTART_SECONDS if is_unusable else RESTART_SECONDS)
        finally:
            if process.returncode is None:
                process.terminate()
                with suppress(TimeoutError):
                    async with asyncio.timeout(GRACE_SECONDS + 5):
                        await process.wait()
            if process.returncode is None:
                process.kill()


class Server(uvicorn.Server):
    """uvicorn with our answers to signals: a stop lets go of every caller, and the process exits with 0."""

    def __init__(self, gateway: Gateway, manager: Manager | None = None, *, handle_signals: bool = True) -> None:
        super().__init__(
            uvicorn.Config(
                App(gateway), http=HttpConnection, ws="none", lifespan="on", log_config=None, access_log=False,
                server_header=False, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )  # fmt: skip
        self._gateway, self._manager, self._handles_signals = gateway, manager, handle_signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("serves %s", ", ".join(map(_url, sockets or ())))
            if self._gateway.settings.page is not PageKind.NONE:
                threading.Thread(target=compile_templates, name="page-templates", daemon=True).start()
        if self.started and self._manager is not None:
            self._manager.ready()

    async def on_tick(self, counter: int) -> bool:
        if self._manager is not None:
            self._manager.alive()
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Take no more requests, and answer those that wait: they are to come again. Responses that are being written
        may end; a second call ends them at once."""
        if self.should_exit:
            self._abort_connections()
            return
        log.info("stopping")
        asyncio.get_running_loop().call_later(GRACE_SECONDS - 1, self._abort_connections)
        if self._manager is not None:
            self._manager.stopping(GRACE_SECONDS)
        self._gateway.stopping.set()
        self.should_exit = True

    def _abort_connections(self) -> None:
        """Close what is still open: its clients do not read. uvicorn logs an error for each that it must cancel."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = stop_signals() if self._handles_signals else ()
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        if numbers:
            ignore_user_signals()
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


@contextmanager
def listening_sockets(addresses: tuple[str, ...]) -> Iterator[list[socket.socket]]:
    """A socket for each address. Raises one `CannotListen` for all addresses that cannot be listened on."""
    if not addresses:
        raise CannotListen("the gateway has no address: name one under `gateway: {listen: [...]}`")
    with ExitStack() as stack:
        sockets, faults = list[socket.socket](), list[str]()
        for address in addresses:
            try:
                sockets.append(stack.enter_context(_listen(address)))
            except CannotListen as fault:
                faults.append(str(fault))
        if faults:
            raise CannotListen("\n".join(faults))
        yield sockets


def _url(own: socket.socket) -> str:
    host, port, *_ = own.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _given(sockets: Sequence[socket.socket]) -> Iterator[list[socket.socket]]:
    yield list(sockets)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("" if host == "*" else host, int(port)))
        own.listen(BACKLOG)
    except OSError as error:
        own.close()
        remedy = (
            "Stop the other program (an `openfall up` of another folder?), or choose another address: "
            "`gateway: {listen: [...]}` in openfall.yaml, or OPENFALL_PORT without one."
        )
        raise CannotListen(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}. {remedy}") from None
    own.setblocking(False)
    return own
