"""A Redis connection with group commit: commands that arrive while a batch is in flight go out in the next one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from hiredis import pack_command
from pydantic_core import to_json
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.errors import InvalidOperation
from openfall.router_core.state import keys, scripts
from openfall.router_core.state.cancellation import cancel_all, start_background
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.errors import StoreError, StoreFull, StoreRefused
from openfall.router_core.state.redis_error_remedies import translate
from openfall.router_core.state.redis_pool import REPLY_TIMEOUT_SECONDS, Demoted, display_address, open_pool, server_at
from openfall.router_core.state.scripts import Script
from openfall.router_core.state.unreadable_notes import LAST_NOTES_SECONDS, UnreadableNotes

MAX_BATCH = 128
"""Commands in one batch. More brings nothing, and the first would wait for the last."""
Clock = Callable[[], float]


class Confirmation(NamedTuple):
    """How many servers have a write on their disks: the primary (0 or 1), and its replicas."""

    on_disk: int
    on_replicas: int


_Pending = tuple[tuple[Any, ...], "asyncio.Future[Any]"]
"""A command, and the future of its reply."""


class RedisConnection:
    """Runs scripts and commands over one connection, in the event loop of its first command. Reconnects by itself, and
    is disconnected when that loop ends.

    Every call either returns Redis' reply or raises a `StoreError`. After `StoreUnreachable` the effect is unknown.
    `clock` replaces the server's clock in scripts, in epoch seconds; tests use it.
    """

    max_batch = MAX_BATCH

    def __init__(self, server: RedisServer | str, *, clock: Clock | None = None) -> None:
        self.server = server_at(server)
        self.safe_url = display_address(self.server)
        self.round_trips = 0
        """Batches sent so far."""
        self.connections = 0
        """Connections opened so far: a new one may lead to a server with other settings, or without its last writes."""
        self._clock = clock
        self._pool = open_pool(self.server, socket_timeout=self._reply_timeout())
        self._confirming: ConfirmingConnection | None = None
        self._connection: AbstractConnection | None = None
        self._waiting: deque[_Pending] = deque()
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.notes = UnreadableNotes()
        """What could not be read; sent with the next command."""
        self._noting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RedisConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def script(self, name: str, arguments: Mapping[str, Any] | bytes, *bodies: Any) -> Any:
        """Run one of our scripts. It is loaded when the server does not know it.

        `arguments` are named, and absent where they are None; or are packed already by `pack_arguments`.
        """
        script = scripts.load(name)
        now = "" if self._clock is None else str(int(self._clock() * 1000))
        packed = arguments if isinstance(arguments, bytes) else pack_arguments(arguments)
        call = ("FCALL", script.function, 0, now, packed, *bodies)
        try:
            return await self._send_command(call)
        except redis_errors.RedisError as error:
            if "Function not found" not in str(error):
                raise translate(error, self.safe_url) from error
        try:
            await self._load(script)
        except StoreFull:  # a library needs memory; a script that runs by itself does not
            return await self.command("EVAL", script.text, 0, now, packed, *bodies)
        return await self.command(*call)

    async def confirmed_script(
        self, name: str, arguments: Mapping[str, Any] | bytes, *bodies: Any
    ) -> tuple[Any, Confirmation | None]:
        """Run a script, and wait until its write is on the disks that the server's settings name.

        None in place of a confirmation: these settings name none."""
        if not self.server.confirms:
            return await self.script(name, arguments, *bodies), None
        if self._confirming is None:  # of its own: no other command waits for a disk
            self._confirming = ConfirmingConnection(self.server, clock=self._clock)
        reply, confirmation = await self._confirming.script(name, arguments, *bodies)
        return reply, confirmation

    async def command(self, *args: Any) -> Any:
        """Run one plain command. A key of another type than it needs is set aside first."""
        try:
            return await self._send_command(args)
        except redis_errors.RedisError as error:
            if "WRONGTYPE" not in str(error):
                raise translate(error, self.safe_url) from error
        await self.script("set_aside", {"command": args[0]}, *args[1:])
        try:
            return await self._send_command(args)
        except redis_errors.RedisError as error:
            raise translate(error, self.safe_url) from error

    async def load(self, *names: str) -> None:
        """Load scripts ahead of their first use, so that the first job is as fast as any."""
        with contextlib.suppress(StoreFull):
            await asyncio.gather(*(self._load(scripts.load(name)) for name in names))

    async def _load(self, script: Script) -> None:
        """Load a library. One that is there has the same text, since its name has the hash of it."""
        try:
            await self.command("FUNCTION", "LOAD", script.library)
        except StoreRefused as error:
            if "already exists" not in str(error):
                raise

    async def _send_notes(self) -> None:
        with contextlib.suppress(StoreError):  # the next reader notes it again
            await self.script("note_unreadable", self.notes.take())

    async def close(self) -> None:
        """End the connection. What was noted last goes first, if Redis answers at once."""
        if self.notes and self._sender is not None and self._loop is asyncio.get_running_loop():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._send_notes(), LAST_NOTES_SECONDS)
        await cancel_all(self._noting, self._sender)
        self._sender = None
        while self._waiting:
            _resolve(self._waiting.popleft()[1], _closed())
        await self._disconnect()
        await self._pool.aclose()
        if self._confirming is not None:
            await self._confirming.close()

    def _reply_timeout(self) -> float:
        return REPLY_TIMEOUT_SECONDS

    def _send_command(self, command: tuple[Any, ...]) -> Awaitable[Any]:
        loop = asyncio.get_running_loop()
        if self._sender is None:
            self._sender = start_background(self._send_all(), "redis-connection")
            self._loop = loop
        elif self._loop is not loop:
            raise InvalidOperation(
                "this belongs to another event loop: use a stream or a delivery in the loop in which the client gave it"
            )
        if self.notes and (self._noting is None or self._noting.done()):
            self._noting = start_background(self._send_notes(), "unreadable-values")
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, future))
        self._more.set()
        return future

    async def _send_all(self) -> None:
        try:
            while True:
                await self._more.wait()
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.max_batch))]
                    batch = [(command, future) for command, future in batch if not future.cancelled()]
                    await self._send(batch)
                self._more.clear()
        except asyncio.CancelledError:  # also when `asyncio.run` ends without a call of `close`
            await self._disconnect()
            raise

    async def _send(self, batch: list[_Pending]) -> None:
        packed, pending = _packed(batch)
        whole, reused = len(pending), self._connection is not None
        try:
            error = await self._exchange(packed, pending)
            idle = reused and len(pending) == whole and isinstance(error, redis_errors.ConnectionError)
            if idle or (reused and isinstance(error, Demoted)):
                # Servers and proxies close idle connections. Callers need not know: every script is idempotent.
                # A server that is no primary any more carried out nothing, and its address may lead to the next one.
                error = await self._exchange(packed, pending)
        except asyncio.CancelledError:
            for future in pending:
                _resolve(future, _closed())
            raise
        for future in pending:
            _resolve(future, error)

    async def _exchange(self, packed: bytes, pending: deque[asyncio.Future[Any]]) -> redis_errors.RedisError | None:
        """Send a batch and remove the replied ones from `pending`. The rest got no reply, for the error returned."""
        try:
            if self._connection is None:
                self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
                self.connections += 1
            connection = self._connection
            await connection.send_packed_command([packed])
            self.round_trips += 1
            while pending:
                reply = await self._reply(connection)
                _resolve(pending.popleft(), reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, callers wait for these replies
            await self._disconnect()
            return error if isinstance(error, redis_errors.RedisError) else redis_errors.ConnectionError(str(error))
        return None

    async def _reply(self, connection: AbstractConnection) -> Any:
        try:
            return await connection.read_response(disconnect_on_error=False)
        except redis_errors.ResponseError as error:
            return error  # of this command alone: the others of the batch continue

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(redis_errors.RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)
            await self._pool.release(connection)


class ConfirmingConnection(RedisConnection):
    """A connection whose every reply has its confirmation with it: one `WAITAOF` a batch, in the same round trip."""

    max_batch = 512
    """A batch costs a write to the disk, so a larger one is better."""

    def _reply_timeout(self) -> float:
        return REPLY_TIMEOUT_SECONDS + self.server.confirm_timeout

    async def _exchange(self, packed: bytes, pending: deque[asyncio.Future[Any]]) -> redis_errors.RedisError | None:
        # WAITAOF waits for the last write of its connection. A job that is sent again writes nothing, so this counts.
        wait = ("WAITAOF", 1, self.server.confirm_replicas, int(self.server.confirm_timeout * 1000))
        commands: tuple[Any, ...] = (("HINCRBY", keys.COUNTERS, "confirmations", 1), wait)
        futures: list[asyncio.Future[Any]] = [
            asyncio.get_running_loop().create_future() for _ in range(len(pending) + len(commands))
        ]
        error = await super()._exchange(packed + b"".join(map(pack_command, commands)), deque(futures))
        replies = [future.exception() or future.result() for future in futures if future.done()]
        if error is not None:
            return error
        # An error of WAITAOF (the append-only file was switched off) does not undo the scripts: their writes are in.
        last: Any = replies[-1]
        confirmation = Confirmation(0, 0) if isinstance(last, Exception) else Confirmation(*last)
        for reply in replies[: -len(commands)]:
            _resolve(pending.popleft(), reply if isinstance(reply, Exception) else (reply, confirmation))
        return None


def _packed(batch: list[_Pending]) -> tuple[bytes, deque[asyncio.Future[Any]]]:
    """The bytes of a batch, and the futures of its replies. A command that cannot be sent fails alone.

    hiredis packs in C what redis-py's asyncio connection packs in Python: 80 µs less a settle, profiled.
    """
    packed: list[bytes] = []
    pending: deque[asyncio.Future[Any]] = deque()
    for command, future in batch:
        try:
            packed.append(pack_command(command))
        except (TypeError, UnicodeError) as error:
            _resolve(future, redis_errors.DataError(f"this cannot be sent: {error}"))
        else:
            pending.append(future)
    return b"".join(packed), pending


def _closed() -> redis_errors.ConnectionError:
    return redis_errors.ConnectionError("the connection was closed meanwhile")


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def pack_arguments(arguments: Mapping[str, Any]) -> bytes:
    """The named arguments of a script, as it reads them: JSON, without those that are None."""
    return to_json({name: value for name, value in arguments.items() if value is not None})


def pairs(reply: list[bytes]) -> Mapping[str, bytes]:
    """A hash as HGETALL returns it over RESP2."""
    return {read_text(reply[i]): reply[i + 1] for i in range(0, len(reply), 2)}
