"""The answer to a request that waits for its job: streamed, or as one body, with the receipt in its headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.caller_wait import wait_for_answer
from openfall.producers.gateway.event_stream import EventStream, StreamEncoder
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import json_response
from openfall.producers.gateway.submission import Accepted
from openfall.router_core.jobs.result import Result

WholeAnswer = Callable[[Result, str, dict[str, Any]], Mapping[str, Any]]
"""Makes the body of an API from a result, the name that the caller asked for, and the receipt."""


async def answer(exchange: Exchange, accepted: Accepted, encoder: StreamEncoder, whole: WholeAnswer) -> Response:
    """The answer of a job in the form of an API. Raises as `wait_for_answer` does."""
    if accepted.streams:
        return await EventStream(exchange, accepted, encoder).open()
    result = await wait_for_answer(exchange, accepted)
    headers = receipt_headers(result, joined=accepted.joined)
    return json_response(whole(result, accepted.asked_for, receipt_of(result)), headers=headers)
