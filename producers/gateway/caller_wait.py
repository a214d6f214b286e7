"""Waits for the result of a job on behalf of a caller, who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from openfall.producers.batch_wait_reason import explain_waiting
from openfall.producers.client_store import ClientStore, try_redis
from openfall.producers.errors import StillQueued
from openfall.producers.gateway.error_table import Refusal, refusal_of_result
from openfall.producers.gateway.exchange import CallerLeft, Exchange
from openfall.producers.gateway.submission import Accepted
from openfall.producers.job_request import parse_duration
from openfall.router_core.jobs.result import REPLIES_WITHOUT_CALL, Result
from openfall.router_core.state import keys
from openfall.router_core.state.caller_leases import CALLER_LEFT, LINGER_SECONDS, RESTART_SECONDS, RETURN_SECONDS
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, UnknownJob

T = TypeVar("T")

NO_WORKER_SECONDS = 5.0
"""A caller who waits for longer learns whether a worker runs."""
MARGIN_SECONDS = 2.0
"""The answer must leave the gateway before the client gives up."""
_DECLARED = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Headers in which the SDKs of OpenAI and Anthropic state their own time limit, in seconds."""


async def wait_for_answer(exchange: Exchange, accepted: Accepted) -> Result:
    """The answer of a job, or the reply of a degraded one where the caller wants it.

    Raises `Refusal` for everything else, `CallerLeft` when there is no caller any more. A job whose caller gets no
    answer goes on for a while, so that a repeat of the request joins it.
    """
    visit = Visit()
    start_visit(exchange, accepted)
    waiting = asyncio.create_task(_wait(exchange, accepted))
    leaving = asyncio.create_task(caller_left(exchange))
    stopping = asyncio.create_task(exchange.gateway.stopping.wait())
    try:
        awaited = {waiting, leaving, stopping}
        done, _ = await asyncio.wait(awaited, timeout=NO_WORKER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            if await lacks_workers(exchange, accepted):
                raise await refusal_without_workers(exchange, accepted.id)
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            raise CallerLeft
        if stopping.done() and not waiting.done():
            raise Refusal("restarting", "the gateway restarts: send the request again", job_id=accepted.id)
        result = await waiting
        await exchange.check_caller()
        if not is_wanted(exchange, accepted, result):
            visit.linger_seconds = RETURN_SECONDS
            raise refusal_of_result(result)
        visit.linger_seconds, visit.ends_job = None, not result.final
    except CallerLeft:
        visit.linger_seconds = LINGER_SECONDS
        raise
    except StillQueued:
        visit.linger_seconds = RETURN_SECONDS
        raise Refusal("still_queued", await _describe_wait(exchange, accepted.id), job_id=accepted.id) from None
    finally:
        await end_visit(exchange, accepted, visit)  # first: the repeat may be on its way
        await cancel_all(waiting, leaving, stopping)
    _watch_response(exchange, accepted, visit)
    return result


async def _wait(exchange: Exchange, accepted: Accepted) -> Result:
    limit = wait_limit(exchange.request.headers, exchange.header("wait"), exchange.settings.wait_at_most)
    try:
        return await exchange.client.wait(accepted.id, limit, accept_interim=True)
    except UnknownJob as error:
        raise lost_job(accepted) or error from None


def _watch_response(exchange: Exchange, accepted: Accepted, visit: Visit) -> None:
    """The caller gets its answer now. It may end before it has read it."""
    if accepted.connected_caller is not None and not visit.ends_job:
        exchange.watch_response(accepted.id)


@dataclass(slots=True)
class Visit:
    """A caller waits for a job. `linger_seconds`: how long the job goes on after it; None: the caller has its answer.

    `ends_job`: a job that ends without its caller ends now: the caller has pressed stop, or has a reply and hears of no
    other.
    """

    linger_seconds: float | None = RESTART_SECONDS
    ends_job: bool = False


def start_visit(exchange: Exchange, accepted: Accepted) -> None:
    """A caller waits from now on."""
    if accepted.connected_caller is not None:
        exchange.gateway.callers.add(accepted.id)


async def end_visit(exchange: Exchange, accepted: Accepted, visit: Visit) -> None:
    """The caller has its answer, or has left."""
    if accepted.connected_caller is None:
        return
    callers, client = exchange.gateway.callers, exchange.client
    if visit.ends_job and accepted.connected_caller.ends_without_caller:
        callers.remove(accepted.id)
        with suppress(StoreError):  # its lease ends it
            await client.store.jobs.cancel(accepted.id, CALLER_LEFT)
    elif visit.linger_seconds is None:
        callers.answer(accepted.id)
    else:
        await callers.let_go(accepted.id, visit.linger_seconds)


async def count_workers(store: ClientStore) -> int | None:
    """The workers that are alive. None: Redis does not answer."""
    now = await try_redis(store.server_time())
    if now is None:
        return None
    return await try_redis(store.connection.command("ZCOUNT", keys.PRESENCE, int(now * 1000), "+inf")) or 0


async def lacks_workers(exchange: Exchange, accepted: Accepted) -> bool:
    """Whether a caller waits and no worker runs: neither a model nor Open Fall would reply."""
    waits = accepted.connected_caller is not None and accepted.connected_caller.ends_without_caller
    return waits and await count_workers(exchange.client.store) == 0


async def refusal_without_workers(exchange: Exchange, job_id: str) -> Refusal:
    return Refusal("no_worker", await _describe_wait(exchange, job_id), job_id=job_id)


async def _describe_wait(exchange: Exchange, job_id: str) -> str:
    """What the caller can do about an answer that is not there yet, and why it is not."""
    text = f"no answer yet: job {job_id} goes on. Send the same request again for its answer"
    why = await try_redis(explain_waiting(exchange.client, [job_id]))
    return f"{text}. It waits: {why}" if why else text


def wait_limit(headers: Mapping[str, str], wanted: str | None, wait_at_most: float) -> float:
    """Seconds: the shortest of what the caller wants, what its client declares, and what the gateway allows."""
    limits = [wait_at_most] if wanted is None else [wait_at_most, parse_duration(wanted, "X-Openfall-Wait")]
    for declared in (headers.get(name, "") for name in _DECLARED):
        with suppress(ValueError):
            if 0 < (seconds := float(declared)) < float("inf"):
                limits.append(max(1.0, seconds - MARGIN_SECONDS))
    return min(limits)


def lost_job(accepted: Accepted) -> Refusal | None:
    """The refusal for a job that this request put in the queue, and that a failover of Redis lost. None: the job was
    accepted before, and its caller looks for it by its id."""
    message = "Redis lost the job in a failover: send the request again"
    return None if accepted.job is None else Refusal("restarted", message, job_id=accepted.id)


def is_wanted(exchange: Exchange, accepted: Accepted, result: Result) -> bool:
    """Whether a result is given as the answer: it is an answer, or a reply that the caller wants for the meantime."""
    is_reply = not result.final or result.degraded_by in REPLIES_WITHOUT_CALL
    return result.answered and (not is_reply or wants_reply(exchange, accepted))


def wants_reply(exchange: Exchange, accepted: Accepted) -> bool:
    """Whether a canned text may be given for the answer: the request could show it to a person, and the header, the key
    or the role says that it is wanted."""
    job = accepted.job
    if job is None or not accepted.shows_reply:
        return False
    word = exchange.header("degraded")
    if word is not None:
        return word == "reply"
    role = exchange.catalog.roles.get(job.role or "")
    return exchange.caller.canned_reply or bool(role is not None and role.canned_reply)


async def unless_left(exchange: Exchange, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    """The result of some work for a caller. Raises `CallerLeft`, and `TimeoutError` at the end of `seconds`."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(caller_left(exchange))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerLeft if leaving.done() else TimeoutError
    finally:
        await cancel_all(working, leaving)


async def caller_left(exchange: Exchange) -> None:
    """Return when the caller has closed the connection. The body has been read before."""
    while (await exchange.request.receive())["type"] != "http.disconnect":
        pass
