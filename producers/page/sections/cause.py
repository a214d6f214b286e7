"""What is wrong with the fleet, as the page says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FleetHealth(StrEnum):
    """GOOD: people get answers. IMPAIRED: they do, and something needs attention. FAILING: some or all get none."""

    GOOD = "good"
    IMPAIRED = "impaired"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong, and what helps. `since`, `until`: epoch seconds. `section` has the buttons for it;
    `remedy` is what an operator does elsewhere. `is_wait`: people wait, and get their answers late."""

    text: str
    health: FleetHealth = FleetHealth.IMPAIRED
    since: float | None = None
    until: float | None = None
    until_text: str = ""
    section: str = ""
    remedy: str = ""
    is_wait: bool = False
