"""Runs a number of cases from one seed and gathers what went wrong, one finding for each place."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass, field

from tests.fuzz.cases import CASES


@dataclass(slots=True)
class Findings:
    """By the place of each fault, its first case and how many there were."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, case: str) -> None:
        self.counts[place] = self.counts.get(place, 0) + 1
        self.first.setdefault(place, case)


async def run(mutations: int, seed: int, only: int | None = None) -> Findings:
    """`only` repeats one case of a run."""
    findings = Findings()
    names = [name for name, (share, _) in CASES.items() for _ in range(share)]
    for number in range(mutations) if only is None else [only]:
        chance = random.Random(f"{seed}:{number}")
        name = chance.choice(names)
        try:
            await CASES[name][1](chance)
        except Exception as error:  # noqa: BLE001 - every one is a finding
            findings.add(f"{name}: {_place(error)}", f"--seed {seed} --only {number}")
    return findings


def _place(error: Exception) -> str:
    """The error and the innermost line of the product."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    own = [frame for frame in frames if "/lib/python" not in frame.filename] or frames
    return f"{type(error).__name__} at {own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}: {str(error)[:160]!r}"
