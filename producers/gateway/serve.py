"""Runs the door: one process, which may share its addresses with others."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from openfall.config import LoadedConfig
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.access import refuse_exposed
from openfall.producers.gateway.app import App
from openfall.producers.gateway.gateway import Gateway
from openfall.router_core.state.client_keys import fetch_keys

BACKLOG = 2048
GRACE_SECONDS = 10
"""How long a door that stops waits for responses that are being written. No job ends with it."""


class CannotListen(Exception):
    """An address cannot be listened on, or must not be. The message names the remedy."""


async def serve(loaded: LoadedConfig, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `CannotListen`, `NoRedis`, `StoreError`."""
    gateway = Gateway.of(AsyncOpenfall(config=loaded))
    keys = await fetch_keys(gateway.client.store.connection)
    if why := refuse_exposed(gateway.settings, keys):
        await gateway.client.close()
        raise CannotListen(why)
    with listening_sockets(gateway.settings.listen) as sockets:
        server = _Server(uvicorn.Config(
            App(gateway), http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=GRACE_SECONDS, timeout_keep_alive=75,
        ), on_ready)  # fmt: skip
        await server.serve(sockets)


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


@contextmanager
def listening_sockets(addresses: tuple[str, ...]) -> Iterator[list[socket.socket]]:
    """A socket for each address, shared with the other processes of the door. Raises `CannotListen`."""
    with ExitStack() as stack:
        yield [stack.enter_context(_listen(address)) for address in addresses]


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    own = socket.socket(family, socket.SOCK_STREAM)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "win32":
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(("" if host == "*" else host, int(port)))
        own.listen(BACKLOG)
    except OSError as error:
        own.close()
        remedy = "choose another under `gateway: {listen: [...]}`"
        raise CannotListen(f"cannot listen on {address}: {error.strerror}; {remedy}") from None
    own.setblocking(False)
    return own
