"""The statuses of a batch, and the time that it may take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from openfall.router_core.batch_rules.journal_row import LineEnd

HOUR_SECONDS = 3600
MAX_WINDOW_SECONDS = 7 * 24 * HOUR_SECONDS
_WINDOW = re.compile(r"([1-9]\d{0,2})([hd])")
_UNIT_SECONDS = {"h": HOUR_SECONDS, "d": 24 * HOUR_SECONDS}


class BatchStatus(StrEnum):
    """In the order in which a batch passes them; FAILED follows VALIDATING, and CANCELLING any of the first two."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ENDED = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})
CANCELLABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)


def window_seconds(text: str) -> int | None:
    """The seconds of a completion window from `1h` to `7d`. None: the text is no window."""
    match = _WINDOW.fullmatch(text)
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
    return seconds if 0 < seconds <= MAX_WINDOW_SECONDS else None


def final_status(ends: Mapping[LineEnd, int], *, is_cancelled: bool) -> BatchStatus:
    """The last status of a batch whose lines have all ended."""
    if is_cancelled:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if ends.get(LineEnd.EXPIRED) else BatchStatus.COMPLETED
