"""A streamed response: follows a job, and writes its events in the form of an API.

The status line tells the truth as long as it can: nothing is sent for a second, so that a refusal is a 4xx or 5xx. Then
the head goes out, and keepalives hold the connection open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openfall.producers.gateway.caller_wait import (
    NO_WORKER_SECONDS,
    Visit,
    caller_left,
    end_visit,
    is_wanted,
    lacks_workers,
    lost_job,
    refusal_without_workers,
    start_visit,
)
from openfall.producers.gateway.error_table import Refusal, refusal_of_error, refusal_of_result
from openfall.producers.gateway.event_reader import Event, EventReader, Interrupted
from openfall.producers.gateway.exchange import CallerLeft, Exchange
from openfall.producers.gateway.receipt import receipt_of
from openfall.producers.gateway.submission import Accepted
from openfall.producers.job_stream import follow, interim_reply
from openfall.router_core.jobs.result import Result
from openfall.router_core.jobs.stream_pieces import Piece
from openfall.router_core.state.caller_leases import LINGER_SECONDS, RETURN_SECONDS, is_held
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.job_events import read_events

HEAD_SECONDS = 1.0
"""How long the head is held back for the first piece or a refusal."""
KEEPALIVE_SECONDS = 10.0
"""Proxies close a silent connection after 60 s, some after 15."""

DELIVERED_SECONDS = 1.0
"""A caller who is still connected after this time has read the head of its stream."""

HEADERS = {
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would gather the stream
}


class StreamEncoder(Protocol):
    """The form of an API. Pure: the same events give the same bytes. Each method may return nothing to send.

    `progress` is for an event of the job that is neither a piece nor its end. `restart` is for a model that starts
    again after pieces were sent; None: the API has no form for it. `carries_failures`: the API has a form for a job
    that is held, fails or is cancelled after the head."""

    media_type: str
    carries_failures: bool

    def progress(self, event: Mapping[str, Any]) -> bytes: ...

    def pieces(self, pieces: Iterable[Piece]) -> bytes: ...

    def restart(self) -> bytes | None: ...

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes: ...

    def failure(self, error: Mapping[str, Any]) -> bytes: ...

    def waiting(self, position: int | None) -> bytes: ...


class EventStream(Response):
    """The stream of one job for one caller."""

    def __init__(self, exchange: Exchange, accepted: Accepted, encoder: StreamEncoder) -> None:
        super().__init__(None, 200, HEADERS, encoder.media_type)
        del self.headers["content-length"]
        self._exchange, self._accepted, self._encoder = exchange, accepted, encoder
        self._visit = Visit()
        self._is_undelivered = accepted.is_undelivered
        self._position: int | None = None
        self._void_until = 0
        """The cursor up to which pieces belong to earlier attempts."""
        self._has_pieces = self._head_sent = False
        self._head_sent_at = 0.0
        self._buffer = b""
        self._ended = self._has_left = False
        self._loop = asyncio.get_running_loop()
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None
        """Sends a keepalive."""
        self._leaving = asyncio.create_task(caller_left(exchange))
        stopping = asyncio.create_task(exchange.gateway.stopping.wait())
        self._reader = EventReader(_events_of(exchange, accepted), self._leaving, stopping)

    async def open(self) -> EventStream:
        """Follow the job until there is something to send, for at most `HEAD_SECONDS`, or longer if no worker runs.

        Raises `Refusal` when the job ends without an answer before, or cannot begin, and `CallerLeft`.
        """
        start_visit(self._exchange, self._accepted)
        try:
            await self._skip_void_pieces()
            for seconds in (HEAD_SECONDS, NO_WORKER_SECONDS - HEAD_SECONDS):
                if await self._begins_within(seconds) or not await lacks_workers(self._exchange, self._accepted):
                    return self
            raise await refusal_without_workers(self._exchange, self._accepted.id)
        except Interrupted:
            cause = self._interruption()
            await self._close(left_after_head=False)
            raise cause from None
        except UnknownJob as error:
            await self._close(left_after_head=False)
            raise lost_job(self._accepted) or error from None
        except BaseException:
            await self._close(left_after_head=False)
            raise

    async def _begins_within(self, seconds: float) -> bool:
        """Whether there is something to send within this time."""
        deadline = self._loop.time() + seconds
        while not (self._has_pieces or self._ended):
            event = await self._reader.next_within(max(0.0, deadline - self._loop.time()))
            if event is None:
                return False
            self._buffer += await self._take(event)
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = False
        try:
            self._head_sent = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            self._sent_at = self._head_sent_at = self._loop.time()
            self._keep_alive(send)
            await self._send(send, self._buffer)
            while not self._ended:
                await self._send(send, await self._next_bytes())
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except CallerLeft:
            left = True
            raise
        finally:
            await self._close(left_after_head=left)

    async def _next_bytes(self) -> bytes:
        try:
            return await self._take(await self._reader.next_event())
        except Interrupted:
            cause: Exception = self._interruption()
        except UnknownJob as error:
            cause = lost_job(self._accepted) or error
        except Exception as error:
            cause = error
            if refusal_of_error(error) is None:
                raise
        refusal = refusal_of_error(cause)
        if refusal is None:
            raise cause
        await self._leave()  # first: some callers send the request again at once
        return self._fail(refusal)

    def _interruption(self) -> CallerLeft | Refusal:
        """Why the reader was interrupted."""
        if self._leaving.done():
            return CallerLeft()
        return Refusal("restarting", "the gateway restarts: send the request again", job_id=self._accepted.id)

    def _keep_alive(self, send: Send) -> None:
        """Send something whenever nothing was sent for `KEEPALIVE_SECONDS`."""
        now = self._loop.time()
        due = self._sent_at + KEEPALIVE_SECONDS
        if now >= due:
            due = now + KEEPALIVE_SECONDS
            if self._reader.is_waiting:
                self._sent_at = now
                self._keeping = asyncio.create_task(self._send(send, self._encoder.waiting(self._position)))
        self._timer = self._loop.call_at(due, self._keep_alive, send)

    async def _send(self, send: Send, body: bytes) -> None:
        if body:
            self._sent_at = self._loop.time()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if self._is_undelivered:
                self._deliver()

    async def _take(self, event: dict[str, Any]) -> bytes:
        """The bytes for an event of the job. Raises `Refusal` for an end without an answer."""
        match event["event"]:
            case "delta" if event["cursor"] <= self._void_until:
                return b""
            case "delta":
                self._has_pieces = True
                return self._encoder.pieces(event["pieces"])
            case "reset" if event["cursor"] == 0:  # other events than were read: none of them is passed over
                self._void_until = 0
                return self._restart() if self._has_pieces else b""
            case "reset" if self._has_pieces:
                return self._restart()
            case "held" if not self._reports_failures() and await self._is_held():
                return await self._hold()
            case "done":
                return self._finish(event["result"])
        if event["event"] in ("queued", "started"):
            self._position = event.get("position")
        return self._encoder.progress(event)

    async def _is_held(self) -> bool:
        """Whether the job is held now: one that was joined may have been released since."""
        return await is_held(self._exchange.link, self._accepted.id)

    async def _skip_void_pieces(self) -> None:
        """Pass over the pieces of earlier attempts of a job that was joined, if the API has no form for a restart."""
        if self._accepted.joined and not self._encoder.carries_failures:
            events = await read_events(self._exchange.link, self._accepted.id)
            resets = (cursor for cursor, event in enumerate(events, 1) if event["event"] == "reset")
            self._void_until = max(resets, default=0)

    def _reports_failures(self) -> bool:
        """Whether the stream itself reports a failure. A caller who waits reads it as a status while that is possible,
        and a held job as an error: it is to come again."""
        return self._encoder.carries_failures and self._accepted.connected_caller is None

    def _restart(self) -> bytes:
        again = self._encoder.restart()
        if again is None:
            self._visit.linger_seconds = RETURN_SECONDS
            message = "the answer starts again: send the request again for it"
            raise Refusal("restarted", message, job_id=self._accepted.id)
        return again

    async def _hold(self) -> bytes:
        """The job waits for a model to come back: its interim reply, where the caller wants one."""
        client = self._exchange.client
        reply = await interim_reply(client.store.jobs, self._accepted.id, accept_interim=True)
        if reply is None:
            raise Refusal("held", "no model can answer now: send the same request again", job_id=self._accepted.id)
        if not is_wanted(self._exchange, self._accepted, reply):
            self._visit.linger_seconds = RETURN_SECONDS
            raise refusal_of_result(reply)
        return self._finish(reply)

    def _finish(self, result: Result) -> bytes:
        in_stream = self._reports_failures() or (self._encoder.carries_failures and self._head_sent)
        if not in_stream and not is_wanted(self._exchange, self._accepted, result):
            raise refusal_of_result(result)
        self._ended, self._visit.linger_seconds = True, None
        self._visit.ends_job = not result.final
        return self._encoder.end(result, receipt_of(result))

    def _fail(self, refusal: Refusal) -> bytes:
        self._ended, self._exchange.refused = True, refusal.cause
        return self._encoder.failure(refusal.body(self._exchange.surface, self._exchange.request_id))

    async def _close(self, *, left_after_head: bool) -> None:
        """End the subscription, and leave the job. A caller who leaves after the head has pressed stop: SDKs do not
        repeat then."""
        if left_after_head:
            self._visit.ends_job = True
        elif self._visit.linger_seconds is not None and self._leaving.done():
            self._visit.linger_seconds = LINGER_SECONDS
        await self._leave()
        if self._timer is not None:
            self._timer.cancel()
        await cancel_all(self._keeping)
        await self._reader.close()

    def _deliver(self) -> None:
        """The caller of a stream that has lasted has the id of its job. One that is killed reads no more than the head
        of its stream."""
        if self._ended or self._sent_at - self._head_sent_at >= DELIVERED_SECONDS:
            self._is_undelivered = False
            self._exchange.gateway.callers.answer(self._accepted.id)

    async def _leave(self) -> None:
        if not self._has_left:
            self._has_left = True
            if self._is_undelivered:
                await self._exchange.gateway.callers.let_go(self._accepted.id, LINGER_SECONDS)
            await end_visit(self._exchange, self._accepted, self._visit)


def _events_of(exchange: Exchange, accepted: Accepted) -> AsyncGenerator[Event, None]:
    """The events of a job, with its pieces. `accept` has requested those of a new one that streams."""
    client = exchange.client
    requests_pieces = accepted.joined or not accepted.streams
    return follow(client.store, accepted.id, catalog=client.config.catalog, requests_pieces=requests_pieces)
