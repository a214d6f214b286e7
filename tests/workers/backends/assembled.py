"""Assembles a whole body that is a stream."""

from __future__ import annotations

from openfall.router_core.jobs.outcome import Outcome
from openfall.workers.backends.framing import Framing
from openfall.workers.backends.stream_assembly import StreamAssembler


def assemble_events(body: bytes, framing: Framing, answer: StreamAssembler) -> Outcome:
    for event in (*framing.feed(body), *framing.end()):
        if not answer.ended:
            answer.add(event)
    return answer.outcome()
