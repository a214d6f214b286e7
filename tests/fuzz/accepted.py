"""Differences to the SDKs that are meant, each with its reason."""

from __future__ import annotations

import re
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome

_ERROR = re.compile(rb'"error"\s*:\s*(?!null|\{\}|\[\]|""|false|0[,}\s])')
_REFUSED = (
    "an event of the stream is not an object",  # a part of the answer may be lost with it
    "the input of a tool is not a JSON object",  # the SDK completes it by a guess
    "no stop reason",  # a `message_stop` ends the stream, although the SDK reads on
)


def is_accepted(body: bytes, theirs: Any, mine: Any, outcome: Outcome) -> bool:
    """Whether a difference is one of these."""
    if isinstance(outcome, Failure):
        # An error beside an answer is an error, of any shape: what stands before it may be a part.
        return _ERROR.search(body) is not None or any(detail in outcome.detail for detail in _REFUSED)
    if _stops_early(body):
        return True
    # The SDKs join the name of a call that a server repeats with each piece, and make one that no tool has. The product
    # reads more than the SDKs: blocks without a beginning, choices without an index.
    return theirs.text in mine.text and {*map(_once, theirs.calls)} <= {*map(_once, mine.calls)}


def _stops_early(body: bytes) -> bool:
    stop = body.find(b'"message_stop"')
    return 0 <= stop < body.rfind(b'"content_block')


def _once(name: str) -> str:
    half = name[: len(name) // 2]
    return half if half * 2 == name else name
