"""Waits for the result of a job on behalf of a caller, who may leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from openfall.producers.errors import StillQueued
from openfall.producers.gateway.error_table import Refusal, refusal_of_result
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.patience import patience
from openfall.producers.gateway.submission import Accepted
from openfall.producers.request import parse_duration
from openfall.router_core.jobs.request_body import has_tools, wants_schema
from openfall.router_core.jobs.result import REPLIES_WITHOUT_CALL, Result
from openfall.router_core.state.attendance import LINGER_SECONDS, PATIENCE_SECONDS, RESTART_SECONDS
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.vocabulary import Urgency


class CallerLeft(Exception):
    """The caller has closed the connection."""


async def wait_for_answer(exchange: Exchange, accepted: Accepted) -> Result:
    """The answer of a job, or the reply of a degraded one where the caller wants it.

    Raises `Refusal` for everything else, `CallerLeft` when there is no caller any more. A job whose caller gets no
    answer goes on for a while, so that a repeat of the request joins it.
    """
    async with attended(exchange, accepted) as visit:
        try:
            result = await _wait(exchange, accepted)
        except CallerLeft:
            visit.linger_seconds = LINGER_SECONDS
            raise
        except StillQueued:
            visit.linger_seconds = PATIENCE_SECONDS
            raise
        is_reply = not result.final or result.degraded_by in REPLIES_WITHOUT_CALL
        if not result.answered or (is_reply and not wants_reply(exchange, accepted)):
            visit.linger_seconds = PATIENCE_SECONDS
            raise refusal_of_result(result)
        visit.linger_seconds = None
    if not result.final and accepted.attendance is not None and accepted.attendance.ends_without_caller:
        await exchange.gateway.client.cancel(accepted.id)  # its caller has a reply, and hears of no other
    return result


@dataclass(slots=True)
class Visit:
    """A caller waits. `linger_seconds`: for how long the job goes on after it; None: the caller has its answer."""

    linger_seconds: float | None = RESTART_SECONDS


@asynccontextmanager
async def attended(exchange: Exchange, accepted: Accepted) -> AsyncIterator[Visit]:
    """The time in which a caller waits for a job."""
    visit, callers = Visit(), exchange.gateway.callers
    if accepted.attendance is None:
        yield visit
        return
    callers.add(accepted.id)
    try:
        yield visit
    finally:
        if visit.linger_seconds is None:
            callers.remove(accepted.id)
        else:
            await callers.let_go(accepted.id, visit.linger_seconds)


async def _wait(exchange: Exchange, accepted: Accepted) -> Result:
    """The result of a job. Raises `StillQueued` when the patience of the caller is over, and `CallerLeft`."""
    wanted = exchange.header("wait")
    seconds = patience(
        exchange.request.headers,
        None if wanted is None else parse_duration(wanted),
        exchange.gateway.settings.wait_at_most,
    )
    waiting = asyncio.create_task(exchange.gateway.client.wait(accepted.id, seconds))
    leaving = asyncio.create_task(_left(exchange))
    stopping = asyncio.create_task(exchange.gateway.stopping.wait())
    try:
        await asyncio.wait({waiting, leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            raise CallerLeft
        if stopping.done() and not waiting.done():
            raise Refusal("restarting", "the door restarts: send the request again", job_id=accepted.id)
        return await waiting
    finally:
        await cancel_all(waiting, leaving, stopping)


def wants_reply(exchange: Exchange, accepted: Accepted) -> bool:
    """Whether a canned text may be given for the answer: the request could show it to a person (interactive, no tools,
    no schema, one choice), and the header, the key or the role says that it is wanted."""
    job = accepted.job
    shows = job.urgency is Urgency.INTERACTIVE and not has_tools(job.body) and not wants_schema(job.body)
    if not shows or job.body.get("n", 1) not in (1, None):
        return False
    word = exchange.header("degraded")
    if word is not None:
        return word == "reply"
    role = exchange.gateway.config.catalog.roles.get(job.role or "")
    return exchange.caller.canned_reply or bool(role is not None and role.canned_reply)


async def _left(exchange: Exchange) -> None:
    """Return when the caller has closed the connection. The body has been read before."""
    while (await exchange.request.receive())["type"] != "http.disconnect":
        pass
