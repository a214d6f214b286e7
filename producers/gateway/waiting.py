"""Waits for the result of a job on behalf of a caller, who may leave."""

from __future__ import annotations

import asyncio

from openfall.producers.gateway.error_table import Refusal, refusal_of_result
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.patience import patience
from openfall.producers.gateway.submission import Accepted
from openfall.producers.request import parse_duration
from openfall.router_core.jobs.request_body import has_tools, wants_schema
from openfall.router_core.jobs.result import REPLIES_WITHOUT_CALL, Result
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.vocabulary import Urgency


class CallerLeft(Exception):
    """The caller has closed the connection."""


async def wait_for_answer(exchange: Exchange, accepted: Accepted) -> Result:
    """The answer of a job, or the reply of a degraded one where the caller wants it.

    Raises `Refusal` for everything else, `CallerLeft` when there is no caller any more.
    """
    wanted = exchange.header("wait")
    seconds = patience(
        exchange.request.headers,
        None if wanted is None else parse_duration(wanted),
        exchange.gateway.settings.wait_at_most,
    )
    waiting = asyncio.create_task(exchange.gateway.client.wait(accepted.id, seconds))
    leaving = asyncio.create_task(_left(exchange))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise CallerLeft
        result = await waiting
    finally:
        await cancel_all(waiting, leaving)
    if not result.answered or (not result.final and not wants_reply(exchange, accepted)):
        raise refusal_of_result(result)
    if result.degraded_by in REPLIES_WITHOUT_CALL and not wants_reply(exchange, accepted):
        raise Refusal("held", result.degraded_why or "no model can answer now", job_id=result.id)
    return result


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
