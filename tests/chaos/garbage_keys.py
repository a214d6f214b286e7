"""The keys that the scenario `garbage` damages: every row of the tables in docs/redis.md."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"

NOT_DAMAGED: Mapping[str, str] = {
    "of:job-changed:{id}": "a channel",
    "rq:pubsub:{worker}": "a channel",
    "of:unreadable": "the list of damages: the judge reads it",
    "of:set-aside:{key}": "what was damaged before, and nothing reads it",
    "rq:suspended": "any value of it suspends every worker: that is what rq means by it",
}
"""Why the drill leaves these keys as they are."""

KEPT: Mapping[str, str] = {
    "of:client-keys": "a gateway without a key serves its own machine, as one that never had a key",
    "of:presence": "until the next beats no worker is alive: an interactive job falls, and is answered later",
}
"""Why the drill overwrites these keys, and does not delete them."""

TRANSIENT: Mapping[str, str] = {
    "of:caller-leases": "of:caller-leases",
    "of:credits:{pool}": "of:credits:gpu",
    "of:held-later": "of:held-later",
    "of:job-counts-at:{day or month}": f"of:job-counts-at:{time.strftime('%Y-%m-%d', time.gmtime())}",
    "of:load-errors": "of:load-errors",
    "of:lost-writes": "of:lost-writes",
    "of:limits:{backend}": "of:limits:limited",
    "of:memory-pressure": "of:memory-pressure",
    "of:memory-pressure-since": "of:memory-pressure-since",
    "of:released:{model}": "of:released:dead",
    "of:release-window": "of:release-window",
    "of:rq-jobs": "of:rq-jobs",
    "of:rq-job-queues": "of:rq-job-queues",
    "of:suspects:{pool}": "of:suspects:gpu",
    "of:unmet-demand:{model}": "of:unmet-demand:beta",
    "of:wakeup:{queue}": "of:wakeup:gpu.good.interactive",
    "of:model-use:{model}": "of:model-use:alpha",
    "of:depths:hour": "of:depths:hour",
    "of:depths:day": "of:depths:day",
    "of:refused:{day}": f"of:refused:{time.strftime('%Y-%m-%d', time.gmtime())}",
    "of:card-orders:{card}": "of:card-orders:tower",
    "of:scheduled:{pool}": "of:scheduled:gpu",
    "rq:scheduled:{queue}": "rq:scheduled:gpu.good.batch",
}
"""Keys that exist for moments only: garbage is written under such a name whether it exists or not."""


@dataclass(frozen=True)
class KeyPattern:
    """A key of the tables: its `name` as it is written there, such as `of:job:{id}`."""

    name: str

    def matches(self, key: str) -> bool:
        return self._expression.fullmatch(key) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\{.*?\\}", ".*", re.escape(self.name)), re.DOTALL)

    @property
    def literal_length(self) -> int:
        return len(re.sub(r"\{.*?\}", "", self.name))


def documented_keys(page: str) -> list[KeyPattern]:
    """The keys in the first column of the tables of docs/redis.md."""
    names: dict[str, None] = {}
    for line in page.splitlines():
        if line.startswith(("| `of:", "| `rq:")):
            cell = re.findall(r"`((?:of|rq):[^`]*)`", line.split("|")[1])
            names |= {name + "{queue}" if name.endswith(":") else name: None for name in cell}
    return [KeyPattern(name) for name in names]


def damage_rows(page: str) -> dict[str, str]:
    """By key the last column of the table `What damage to each key costs`: whether its damage is noted."""
    _, _, section = page.partition("### What damage to each key costs")
    rows = [line.split(" | ") for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {name: row[-1].removesuffix(" |") for row in rows for name in re.findall(r"`([^`]*)`", row[0])}


def not_noted_keys(page: str) -> set[str]:
    """The keys for which that table gives a reason why garbage in them may leave no note."""
    return {name for name, noted in damage_rows(page).items() if noted.startswith("no:")}


def sort_keys(keys: Iterable[bytes], patterns: Iterable[KeyPattern]) -> dict[str, list[bytes]]:
    """The keys of each pattern, by its name; under the empty name those that no pattern describes."""
    by_length = sorted(patterns, key=lambda pattern: -pattern.literal_length)
    sorted_keys: dict[str, list[bytes]] = {}
    for key in sorted(keys):
        text = key.decode(errors="replace")
        name = next((pattern.name for pattern in by_length if pattern.matches(text)), "")
        sorted_keys.setdefault(name, []).append(key)
    return sorted_keys
