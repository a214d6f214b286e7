"""How long the gateway keeps a file: one that is uploaded, and the results of a batch."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.paging import read_number

BATCH_FILE_SECONDS = 30 * 86400
"""When a file for a batch expires, unless its upload says when."""
MIN_SECONDS, MAX_SECONDS = 3600, 30 * 86400
"""What a caller may ask for."""


def expiry_of_upload(fields: Mapping[str, str], purpose: str) -> int | None:
    """The seconds after which an upload expires; None: never. Raises `Refusal`."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return BATCH_FILE_SECONDS if purpose == "batch" else None
    if anchor != "created_at":
        raise Refusal("bad_request", "`expires_after[anchor]` must be created_at", "expires_after")
    return read_number("expires_after[seconds]", seconds or "", MIN_SECONDS, MAX_SECONDS)


def expiry_of_output(expiry: object) -> int | None:
    """The seconds after which the files of results expire; None: the caller names none. Raises `Refusal`."""
    if expiry is None:
        return None
    seconds = expiry.get("seconds") if isinstance(expiry, dict) and expiry.get("anchor") == "created_at" else None
    if not isinstance(seconds, int) or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        text = f"`output_expires_after` must have the anchor created_at and {MIN_SECONDS} to {MAX_SECONDS} seconds"
        raise Refusal("bad_request", text, "output_expires_after")
    return seconds
