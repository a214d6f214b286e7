"""The statuses of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from openfall.router_core.batch_rules.journal_row_format import LineEnd


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


def final_status(ends: Mapping[LineEnd, int], *, is_cancelled: bool) -> BatchStatus:
    """The last status of a batch whose lines have all ended."""
    if is_cancelled:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if ends.get(LineEnd.EXPIRED) else BatchStatus.COMPLETED
