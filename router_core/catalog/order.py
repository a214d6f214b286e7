"""The order of a chain."""

from __future__ import annotations

from enum import StrEnum


class Order(StrEnum):
    """Whether a chain is tried as it is written, or ranked for each job by its urgency."""

    AS_WRITTEN = "as_written"
    BY_URGENCY = "by_urgency"
