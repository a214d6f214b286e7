"""The kinds of cases: each makes one input at random and gives it to what reads it in the product."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, get_args

from openfall.producers.errors import BadRequest, PromptTooLarge
from openfall.producers.gateway.conversation import listed_items, output_as_input, request_of
from openfall.producers.gateway.encoders.chat_completion import ChatStream, completion, text_completion
from openfall.producers.gateway.encoders.message import MessageStream, message
from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of
from openfall.producers.gateway.encoders.response_stream import ResponseStream
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.prompt import build_body, check_size
from openfall.router_core.jobs.envelope import UnreadableEnvelope, pack_job, pack_result, unpack_job, unpack_result
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Completion, Outcome
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.stream_pieces import Piece
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.translate import translate_request, translate_response
from tests.fuzz import samples
from tests.fuzz.mutations import mutate, mutate_bytes, pack, pack_events, pack_lines
from tests.fuzz.reading import check, cut, read

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
CONTENT_TYPES = ("application/json", "text/event-stream", "text/event-stream; charset=utf-8", "application/x-ndjson",
                 "text/plain", "", "text/html", "x", ";;")  # fmt: skip


async def whole_answer(random: random.Random) -> None:
    dialect = random.choice(DIALECTS)
    body = pack(random, mutate(random, random.choice(samples.ANSWERS[dialect])))
    await _read(random, dialect, _maybe_broken(random, body))


async def stream(random: random.Random) -> None:
    dialect = random.choice(DIALECTS)
    await _read(random, dialect, _maybe_broken(random, stream_bytes(random, dialect)))


def stream_bytes(random: random.Random, dialect: str, most: int = 3, named: float = 0.95) -> bytes:
    """A stream with changed events."""
    events = mutate(random, random.choice(samples.STREAMS[dialect]), most)
    events = events if isinstance(events, list) else [events]
    return (
        pack_lines(random, events)
        if dialect == "ollama"
        else pack_events(random, events, named if dialect in ("anthropic", "responses") else 0)
    )


def _maybe_broken(random: random.Random, body: bytes) -> bytes:
    for _ in range(random.choice((0, 0, 1, 2))):
        body = mutate_bytes(random, body)
    return body


async def _read(random: random.Random, dialect: Dialect, body: bytes) -> None:
    streamed = random.random() < 0.7
    outcome, pieces = await read(dialect, cut(random, body), random.choice(CONTENT_TYPES), streamed=streamed)
    check(outcome, pieces)
    for caller in DIALECTS if dialect != "responses" else (dialect,):
        request = Request(body=samples.REQUESTS[caller][0], upstream="m", timeout=1, dialect=caller)
        translated = translate_response(outcome, request, dialect)
        check(translated, ())
        _encode(caller, translated, pieces if caller == dialect else [])


def _encode(dialect: Dialect, outcome: Outcome, pieces: list[Piece]) -> None:
    """Write the answer in each form of the gateway that its dialect serves."""
    if not isinstance(outcome, Completion):
        return
    packed = pack_result(Result(id="j", status=Status.ANSWERED, body=dict(outcome.body),
                                finish_reason=outcome.finish_reason))  # fmt: skip
    result = unpack_result("j", packed)
    result.text.encode()
    if dialect == "anthropic":
        json.dumps(message(result, "m", {}))
        encoder = MessageStream("j", "m", 1)
        encoder.pieces(pieces)
        encoder.end(result, {})
    if dialect == "openai":
        json.dumps([completion(result, "m", {}), text_completion(result, "m", {})])
        for stream in (ChatStream("j", "m", 1, True), ChatStream("j", "m", 1, legacy=True)):
            stream.pieces(pieces)
            stream.end(result, {})
    if dialect == "responses":
        head = ResponseHead("j", "m", 1, echo_of({"model": "m"}))
        json.dumps([head.ended(result, {}), output_as_input(result.body or {})])
        written = ResponseStream(head)
        written.pieces(pieces)
        written.end(result, {})


async def error_body(random: random.Random) -> None:
    body = pack(random, mutate(random, random.choice(samples.ERRORS)))
    status = random.choice((200, 201, 400, 401, 402, 403, 404, 408, 413, 422, 429, 499, 500, 501, 503, 529, 599))
    body = _maybe_broken(random, body)
    outcome, pieces = await read(
        random.choice(DIALECTS), cut(random, body), random.choice(CONTENT_TYPES), status=status
    )
    check(outcome, pieces)
    retry = random.choice(("", "5", "-1", "9" * 400, "nan", "1e400", "Wed, 99 Nov 2026", "٣", "0x5", "5s", "\x00"))
    check(classify(status, {"retry-after": retry, "x-ratelimit-reset-tokens": retry}, body), ())


async def request(random: random.Random) -> None:
    """A request is accepted or refused, and what is accepted can be sent to every backend."""
    dialect = random.choice(DIALECTS)
    body = mutate(random, random.choice(samples.REQUESTS[dialect]))
    with suppress(BadRequest, PromptTooLarge):
        built = build_body(body, dialect, {})
        check_size(built, 2**20)
        unpacked = unpack_job(pack_job(_job(built, dialect)), 0.0)
        assert unpacked.dialect == dialect
    if isinstance(body, dict):
        for target in DIALECTS if dialect == "responses" else DIALECTS[:3]:
            translate_request(Request(body=body, upstream="m", timeout=1, dialect=dialect), target)


def _job(body: dict[str, Any], dialect: Dialect) -> CompletionJob:
    return CompletionJob(id="job-00000001", producer="p", body=body, dialect=dialect, chain=("m",))


async def response_request(random: random.Random) -> None:
    body = mutate(random, samples.RESPONSES_REQUEST)
    if not isinstance(body, dict):
        return
    with suppress(Refusal, BadRequest):
        whole = request_of(body, [{"role": "user", "content": "hi"}])
        json.dumps(echo_of(body))
        build_body(whole, "responses", {})
        listed_items("j", whole["input"])


async def stored(random: random.Random) -> None:
    """Jobs, results and events in Redis that another version wrote, or that are broken."""
    result = {"v": 2, "id": "j", "status": "answered", "body": samples.ANSWERS["openai"][0], "waited": 1, "took": 2,
              "attempts": [{"model": "m", "backend": "b"}], "served_by": "cloud", "held_for": None}  # fmt: skip
    data = pack_result(Result(id="j", status=Status.ANSWERED, body=samples.ANSWERS["openai"][0]))
    bodies = (data, pack(random, mutate(random, result)), pack_job(_job(samples.REQUESTS["openai"][0], "openai")))
    broken = _maybe_broken(random, random.choice(bodies))
    with suppress(UnreadableEnvelope):
        unpack_result("j", broken)
    with suppress(UnreadableEnvelope):
        unpack_job(broken, 0.0)


CASES: Mapping[str, tuple[int, Callable[[random.Random], Awaitable[None]]]] = {
    "whole answers": (3, whole_answer),
    "streams": (4, stream),
    "error bodies": (2, error_body),
    "requests": (3, request),
    "Responses requests": (1, response_request),
    "stored values": (1, stored),
}
"""The cases with their shares."""
