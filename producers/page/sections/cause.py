"""What is wrong with the fleet, as the page says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from openfall.producers.runbook import RunbookSection


class FleetHealth(StrEnum):
    """GOOD: people get answers. IMPAIRED: they do, and something needs attention. FAILING: some or all get none."""

    GOOD = "good"
    IMPAIRED = "impaired"
    FAILING = "failing"


SECTION_NAMES = {"open-fall": "held jobs", "cards": "models on cards", "switch": "local only"}
"""The sections whose names differ from their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong, and what helps. `since`, `until`: epoch seconds. `until_text` and `until` stand behind
    `advice`: what to do, or that nothing is to do.

    `is_consequence`: another line says what it is a consequence of. `is_wait`: people wait, and get their answers
    late. `section` shows more. `action` with its `subject` is the button that helps (see page_actions.py), under
    `label`; `remedy` is the command that does it, or what an operator does elsewhere. `runbook` says all of it."""

    text: str
    runbook: RunbookSection
    health: FleetHealth = FleetHealth.IMPAIRED
    is_consequence: bool = False
    is_wait: bool = False
    since: float | None = None
    advice: str = ""
    until: float | None = None
    until_text: str = ""
    remedy: str = ""
    action: str = ""
    subject: str = ""
    label: str = ""
    section: str = ""

    @property
    def section_name(self) -> str:
        return SECTION_NAMES.get(self.section, self.section)

    @property
    def order(self) -> tuple[bool, bool, bool]:
        """Causes before consequences; then what stops answers before what delays them."""
        return (self.is_consequence, self.health is not FleetHealth.FAILING, self.is_wait)
