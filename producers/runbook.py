"""The runbook and the documents to which it leads (of docs/, which the package carries), and the section of the runbook
that belongs to each cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from openfall.router_core.vocabulary import HoldReason

DOCUMENTS = Path(__file__).parent / "documents"
RUNBOOK = DOCUMENTS / "runbook.md"


class RunbookSection(StrEnum):
    """A heading of the runbook."""

    REDIS_AWAY = "Redis is away"
    REDIS_MEMORY = "Redis memory"
    LOST_WRITES = "Redis lost writes"
    REDIS_UNSUITABLE = "Redis is unsuitable"
    NO_WORKER = "No worker"
    SUSPENDED = "Every worker is suspended"
    WORKER_QUIET = "A worker is quiet"
    WORKER_SHORT = "A worker lacks something"
    GATEWAY_AWAY = "The gateway is away"
    OTHER_CONFIGURATION = "Configurations differ"
    QUEUE_PAUSED = "A queue is paused"
    LOCAL_ONLY = "Local only is on"
    BREAKER_OPEN = "A breaker is open"
    CALLS_FAIL = "Calls fail"
    RATE_LIMITED = "A model is rate limited"
    KEY_REFUSED = "A key is refused"
    BUDGET_SPENT = "A budget is spent"
    CARD_SWAPS = "A card swaps too often"
    CARD_WAIT = "A model waits for its card"
    SILENT_ROLE = "A role gets no answer"
    LATE = "Jobs are late"
    HELD = "Jobs are held"
    POISONED = "A job is poisoned"
    OWN_FAULT = "A job is at fault"
    UNREADABLE = "A job cannot be read"
    NOTIFIER_FAILS = "A notifier fails"

    @property
    def anchor(self) -> str:
        return anchor_of(self.value)


HELD_SECTIONS: Mapping[HoldReason, RunbookSection] = {
    HoldReason.POISONED: RunbookSection.POISONED,
    HoldReason.OWN_FAULT: RunbookSection.OWN_FAULT,
    HoldReason.UNREADABLE: RunbookSection.UNREADABLE,
}
"""The section for held jobs of a reason, where it is not `HELD`."""


def anchor_of(heading: str) -> str:
    """The anchor of a heading, as sites that show Markdown make it."""
    kept = (letter if letter.isalnum() else "-" for letter in heading.lower() if letter.isalnum() or letter in " -")
    return "".join(kept)


def read_runbook() -> str:
    return RUNBOOK.read_text("utf-8")


def read_sections() -> dict[str, str]:
    """The text of each section below its heading, without the sections within it."""
    sections: dict[str, str] = {}
    for part in _parts(read_runbook()):
        heading, _, body = part.partition("\n")
        sections[heading.lstrip("# ")] = body.strip()
    return sections


def _parts(text: str) -> Iterator[str]:
    """The text cut before each heading. A `#` within a block of code begins none."""
    part: list[str] = []
    in_code = False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line.startswith("#") and not in_code and part:
            yield "\n".join(part)
            part = []
        part.append(line)
    yield "\n".join(part)
