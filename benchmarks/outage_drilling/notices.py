"""What people were told: one notice when the outage began, one when it was over, whatever was killed meanwhile.

Nothing of openfall is imported here. Moments are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.outage_drilling.evidence import Evidence
from benchmarks.torture_checker.verdict import Promise

POSTING = 15_000.0
"""Milliseconds after a notice that was delivered in which it may come again, when who had posted it was killed."""

OVER = "over:"
"""How the second notice begins."""

Post = dict[str, Any]


def notices(evidence: Evidence) -> Iterator[Promise]:
    """One notice of the outage, one of its end. A change of the first one is no notice."""
    began, over = sorted_posts(evidence)
    again = duplicates(evidence, began) + duplicates(evidence, over)
    told = f"{len(began)} and {len(over)}" + (
        f", {again} of them again because their poster was killed" if again else ""
    )
    right = len(began) - duplicates(evidence, began) == len(over) - duplicates(evidence, over) == 1
    words = tuple(str(post["text"])[:80] for post in (*began, *over)) if not right else ()
    yield Promise("people were told of one outage, and of its end once", right, told, words[:5])
    outages = [name for name in evidence.incidents if name.startswith("outage-")]
    open_ = [name for name in outages if not evidence.incidents[name].get("ended")]
    told = f"{len(outages)} incidents, {len(open_)} still on"
    yield Promise("the outage was one incident, and it is over", len(outages) == 1 and not open_, told, tuple(open_))


def sorted_posts(evidence: Evidence) -> tuple[list[Post], list[Post]]:
    """The posts that were taken, those of a beginning and those of an end."""
    taken = [post for post in evidence.posts if post["method"] == "POST" and post["status"] < 300]
    over = [post for post in taken if str(post["text"]).lower().startswith(OVER)]
    return [post for post in taken if post not in over], over


def duplicates(evidence: Evidence, posts: Sequence[Post]) -> int:
    """Those that came again because who had posted the one before was killed before it could write that down."""
    kills = [fault for fault in evidence.faults if fault.kind in ("degrade", "outage")]
    excused = 0
    for before, post in pairwise(posts):
        killed = any(fault.began <= before["at"] + 1000 and before["at"] <= fault.ended + 1000 for fault in kills)
        excused += killed and post["at"] - before["at"] <= POSTING
    return excused
