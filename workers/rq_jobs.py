"""Reads jobs of plain rq: `Queue.enqueue("openfall.deliver", ACCEPTED_JOB_ID)` with the JSON serializer."""

from __future__ import annotations

import contextlib
import zlib

import orjson

from openfall.router_core.state.jobs import ENTRY_POINT


def parse_rq_call(data: bytes) -> tuple[str, str]:
    """Return (accepted job id, '') for a call of openfall's entry point, else ('', reason). It unpickles nothing."""
    with contextlib.suppress(zlib.error):  # rq accepts uncompressed calls too
        data = zlib.decompress(data)
    try:
        call = orjson.loads(data)
    except ValueError:
        return "", "not JSON: openfall does not read pickles. Enqueue it with serializer=JSONSerializer"
    if not isinstance(call, list) or len(call) != 4 or not isinstance(call[2], list):
        return "", "not an rq call: expected [function, instance, arguments, keywords]"
    function, instance, args, kwargs = call
    if function != ENTRY_POINT:
        return "", f"openfall runs only {ENTRY_POINT!r}, not {str(function)[:80]!r}"
    if instance is not None or kwargs or len(args) != 1 or not isinstance(args[0], str):
        return "", f"{ENTRY_POINT!r} takes one argument: the id of an accepted job"
    return args[0], ""
