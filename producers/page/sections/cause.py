"""What is wrong with the fleet, as the page says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from openfall.producers.duration_text import format_age
from openfall.producers.runbook import RunbookSection
from openfall.router_core.vocabulary import Urgency

MAX_LATENESS = 2.0
"""The wait of an interactive job, in multiples of its target, after which its caller gives up."""


class FleetHealth(StrEnum):
    """GOOD: people get answers. IMPAIRED: they do, and something needs attention. FAILING: some or all get none."""

    GOOD = "good"
    IMPAIRED = "impaired"
    FAILING = "failing"


SECTION_NAMES = {"open-fall": "held jobs", "cards": "models on cards", "switch": "local only"}
"""The sections whose names differ from their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong, and what helps. `since`, `until`: epoch seconds. `since` stands behind `text`; `effect`
    says who waits for that. `until_text` and `until` stand behind `advice`: what to do, or that nothing is to do.

    `subject`: the name of what it is about, where one is needed to find the line. `is_consequence`: another line says
    what it is a consequence of. `is_wait`: people wait, and get their answers late. `section` shows more. `action` is
    what helps (see page_actions.py), with a button for each subject and label of `buttons`; `remedy` is the command
    that does it, or what an operator does elsewhere, on `host` if it must be there. `runbook` says all of it."""

    text: str
    runbook: RunbookSection
    subject: str = ""
    health: FleetHealth = FleetHealth.IMPAIRED
    is_consequence: bool = False
    is_wait: bool = False
    since: float | None = None
    effect: str = ""
    advice: str = ""
    until: float | None = None
    until_text: str = ""
    remedy: str = ""
    host: str = ""
    action: str = ""
    buttons: tuple[tuple[str, str], ...] = ()
    section: str = ""

    def line(self, now: float) -> str:
        """All of it but the button, for a terminal."""
        since = f" for {format_age(max(0.0, now - self.since))}" if self.since is not None else ""
        until = "" if self.until is None else f", {self.until_text} {format_age(max(0.0, self.until - now))}"
        advice = f" {self.advice}{until}." if self.advice else ""
        effect = f" {self.effect}." if self.effect else ""
        remedy = f" -> {f'on {self.host}: ' if self.host else ''}{self.remedy}" if self.remedy else ""
        return f"- {self.text}{since}.{effect}{advice}{remedy} (runbook: {self.runbook})"

    @property
    def section_name(self) -> str:
        return SECTION_NAMES.get(self.section, self.section)

    @property
    def order(self) -> tuple[bool, bool, bool]:
        """Causes before consequences; then what stops answers before what delays them."""
        return (self.is_consequence, self.health is not FleetHealth.FAILING, self.is_wait)


def health_of_wait(urgency: Urgency | None, oldest_seconds: float, target: float) -> FleetHealth:
    """FAILING if callers give up before their jobs start."""
    gives_up = urgency is Urgency.INTERACTIVE and oldest_seconds > MAX_LATENESS * target
    return FleetHealth.FAILING if gives_up else FleetHealth.IMPAIRED
