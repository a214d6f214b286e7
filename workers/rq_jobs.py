"""Jobs put in with plain rq: `Queue.enqueue("openfall.workers.deliver", ACCEPTED_JOB_ID)`, JSON serializer."""

from __future__ import annotations

import contextlib
import zlib

import orjson

from openfall.router_core.state.jobs import ENTRY_POINT


def read_ticket(data: bytes) -> tuple[str, str]:
    """(accepted job id, '') of an rq call of our entry point, or ('', why not). Imports and unpickles nothing."""
    with contextlib.suppress(zlib.error):  # rq reads uncompressed calls too
        data = zlib.decompress(data)
    try:
        call = orjson.loads(data)
    except ValueError:
        return "", "not JSON: openfall reads no pickles. Enqueue it with serializer=JSONSerializer"
    if not isinstance(call, list) or len(call) != 4 or not isinstance(call[2], list):
        return "", "not an rq call: expected [function, instance, arguments, keywords]"
    called, instance, args, kwargs = call
    if called != ENTRY_POINT:
        return "", f"openfall runs {ENTRY_POINT!r} and nothing else; this asks for {str(called)[:80]!r}"
    if instance is not None or kwargs or len(args) != 1 or not isinstance(args[0], str):
        return "", f"{ENTRY_POINT!r} takes one argument: the id of an accepted job"
    return args[0], ""
