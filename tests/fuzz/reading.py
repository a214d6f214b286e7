"""Gives bytes to the readers of the product, as a response whose body arrives in parts, and checks what they return."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import aiohttp
from multidict import CIMultiDict

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import Piece, TextPiece
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.answer_bounds import AnswerTooLarge
from openfall.workers.backends.answer_formats import FORMATS
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.response_reader import AnswerReader
from openfall.workers.backends.stall_watch import CallWatch


class _Content:
    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = filter(None, parts)

    async def readany(self) -> bytes:
        return next(self._parts, b"")


class _Response:
    """What `AnswerReader` uses of a response of aiohttp's."""

    connection = None

    def __init__(self, status: int, headers: Mapping[str, str], parts: Sequence[bytes]) -> None:
        self.status, self.headers, self.content = status, CIMultiDict(headers), _Content(parts)


def cut(random: random.Random, body: bytes) -> list[bytes]:
    """The body in parts, as a network delivers it."""
    size = random.choice((1, 7, 64, 1000, len(body) or 1)) if len(body) < 4000 else 1000
    return [body[start : start + size] for start in range(0, len(body), size)]


async def read(
    dialect: Dialect, parts: Sequence[bytes], content_type: str, *, status: int = 200, streamed: bool = False
) -> tuple[Outcome, list[Piece]]:
    """The outcome and the pieces. A body too large is a failure, as the HTTP client makes of it."""
    pieces: list[Piece] = []
    headers = {"content-type": content_type} if content_type else {}
    response = cast("aiohttp.ClientResponse", _Response(status, headers, parts))
    reader = AnswerReader(FORMATS[dialect], CallWatch(60), (lambda more: pieces.extend(more)) if streamed else None)
    try:
        return await reader.read(response), pieces
    except AnswerTooLarge as error:
        return malformed(str(error)), pieces


def check(outcome: Any, pieces: Sequence[Piece]) -> None:
    """What holds for every outcome."""
    if isinstance(outcome, Failure):
        assert outcome.error_class, "a failure has no class"
        return
    assert isinstance(outcome, Completion), f"neither an answer nor a failure: {outcome!r}"
    assert isinstance(outcome.finish_reason, str), "the finish reason is no text"
    assert outcome.finish_reason, "an answer has no finish reason"
    outcome.text.encode()  # half a character cannot be written
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextPiece) and piece.choice == 0)
    assert not pieces or outcome.text.startswith(text), f"pieces {text!r} are no beginning of {outcome.text!r}"
