"""Who was notified of what, how often and how soon: callers of an end or an interim reply, people of the outage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from tests.chaos.judge.evidence import Evidence
from tests.chaos.judge.promise import MAX_EXAMPLES, PATIENCE, Delays, Promise, none_of, percentiles

NOTIFY_SECONDS = 2.0 * PATIENCE
"""A waiting caller is notified of a decision within this time."""

AFTER_OUTAGE_MS = 4000.0
"""Clients reconnect within this time after an outage of the server."""

REPOST_WINDOW_MS = 15_000.0
"""A delivered notice may be posted again within this time if its poster was killed."""

OVER_PREFIX = "over:"
"""The beginning of the second notice."""

Post = dict[str, Any]


def notification_promises(evidence: Evidence) -> Iterator[Promise]:
    """Every caller is notified once, correctly and soon; people are notified once of the outage and of its end."""
    yield from _caller_promises(evidence)
    yield from _inbox_promises(evidence)
    yield from _webhook_promises(evidence)
    yield from _notice_promises(evidence)
    delays = degraded_to_notified(evidence, "wait")
    slow = [f"{delay:.2f} s" for delay in delays.clear if delay > NOTIFY_SECONDS]
    finding = percentiles(delays.clear)
    name = f"interactive callers were notified of `degraded` within {NOTIFY_SECONDS:g} s of the decision"
    yield Promise(name, bool(delays.clear) and not slow, finding, tuple(slow[:MAX_EXAMPLES]))


def _caller_promises(evidence: Evidence) -> Iterator[Promise]:
    """A caller that waits, or asks later, receives one end: the stored one."""
    statuses: dict[str, list[str]] = defaultdict(list)
    for notification in evidence.notifications:
        if notification.event == "done" and notification.channel in ("wait", "later"):
            statuses[notification.job].append(notification.status)
    wrong = []
    for job in evidence.accepted:
        stored = evidence.results.get(job.id)
        if job.callback in ("wait", "later") and stored is not None and statuses[job.id] != [stored["status"]]:
            wrong.append(f"{job.id}: received {statuses[job.id]}; stored {stored['status']}")
    yield none_of("every caller that waited or asked later received one end, the stored one", wrong)


def _inbox_promises(evidence: Evidence) -> Iterator[Promise]:
    entries: dict[str, int] = defaultdict(int)
    for entry in evidence.history.inbox:
        entries[entry.job] += entry.kind == "done"
    read: dict[str, int] = defaultdict(int)
    for notification in evidence.notifications:
        read[notification.job] += notification.channel == "inbox" and notification.event == "done"
    ended = [job.id for job in evidence.accepted if job.callback == "inbox" and job.id in evidence.results]
    wrong = [f"{job}: {entries[job]} entries" for job in ended if entries[job] != 1]
    yield none_of("every end of a job with an inbox was written there once", wrong)
    yield none_of("every end in an inbox was read by its producer", [job for job in ended if read[job] != 1])


def _webhook_promises(evidence: Evidence) -> Iterator[Promise]:
    """A webhook-id may arrive twice; two different ends may not."""
    ids: dict[str, set[str]] = defaultdict(set)
    ends: dict[str, set[str]] = defaultdict(set)
    for hook in evidence.hooks:
        if hook["kind"] == "done":
            ends[hook["job"]].add(hook["body"])
            ids[hook["job"]].add(hook["id"])
    delivered = {hook["job"] for hook in evidence.hooks if hook["kind"] == "done" and hook["status"] < 300}
    ended = [job.id for job in evidence.accepted if job.callback == "webhook" and job.id in evidence.results]
    yield none_of("every end of a job with a webhook was delivered", [job for job in ended if job not in delivered])
    two = [job for job in ends if len(ends[job]) > 1 or len(ids[job]) > 1]
    yield none_of("no webhook reported two ends, nor one end under two ids", two)


def degraded_to_notified(evidence: Evidence, channel: str) -> Delays:
    """From each `degraded` event of an interactive job to its arrival at the caller."""
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    delays = Delays()
    for notification in evidence.notifications:
        if (
            notification.event == "degraded"
            and notification.channel == channel
            and notification.job in urgent
            and notification.decided
        ):
            disturbed = _disturbed(evidence, notification.decided, notification.at)
            delays.add(notification.at - notification.decided, disturbed)
    return delays


def submitted_to_notified(evidence: Evidence) -> list[float]:
    """From the acceptance of an interactive job while every backend was away to `degraded` at its waiting caller."""
    away = evidence.faults_of("backends")
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    first: dict[str, float] = {}
    for notification in evidence.notifications:
        if notification.event == "degraded" and notification.channel == "wait" and notification.job in urgent:
            first.setdefault(notification.job, notification.at)
    delays = []
    for job, at in first.items():
        submitted = float(evidence.history.stories[job][0]["at"])
        if any(fault.began <= submitted <= fault.ended for fault in away):
            delays.append((at - submitted) / 1000)
    return delays


def fallen_to_decided(evidence: Evidence) -> Delays:
    """From each fall of an interactive job to the decision on it."""
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    delays = Delays()
    for job in urgent & evidence.history.stories.keys():
        fell, taken_over = 0.0, False
        for event in evidence.history.stories[job]:
            at = float(event["at"])
            if event["event"] == "fallen":
                fell, taken_over = at, False
            elif event["event"] == "queued":
                taken_over = event.get("queue") == "degrade"
            elif fell and event["event"] in ("degraded", "held", "done"):
                delays.add(at - fell, taken_over or _disturbed(evidence, fell, at))
                fell = 0.0
    return delays


def _disturbed(evidence: Evidence, began: float, ended: float) -> bool:
    """Whether the server was away in this time, or shortly before it."""
    outages = evidence.faults_of("outage")
    return any(began <= fault.ended + AFTER_OUTAGE_MS and ended >= fault.began for fault in outages)


def _notice_promises(evidence: Evidence) -> Iterator[Promise]:
    """One notice of the outage, one of its end. A change of the first notice is not a notice."""
    began, over = sorted_posts(evidence)
    again = duplicates(evidence, began) + duplicates(evidence, over)
    finding = f"{len(began)} and {len(over)}" + (
        f", {again} of them repeated because their poster was killed" if again else ""
    )
    right = len(began) - duplicates(evidence, began) == len(over) - duplicates(evidence, over) == 1
    texts = tuple(str(post["text"])[:80] for post in (*began, *over)) if not right else ()
    yield Promise("people were notified once of the outage, and once of its end", right, finding, texts[:MAX_EXAMPLES])
    outages = [name for name in evidence.incidents if name.startswith("outage-")]
    open_ = [name for name in outages if not evidence.incidents[name].get("ended")]
    finding = f"{len(outages)} incidents, {len(open_)} still open"
    yield Promise(
        "the outage was one incident, which has ended", len(outages) == 1 and not open_, finding, tuple(open_)
    )


def sorted_posts(evidence: Evidence) -> tuple[list[Post], list[Post]]:
    """The accepted posts: those of a beginning, and those of an end."""
    accepted = [post for post in evidence.posts if post["method"] == "POST" and post["status"] < 300]
    over = [post for post in accepted if str(post["text"]).lower().startswith(OVER_PREFIX)]
    return [post for post in accepted if post not in over], over


def duplicates(evidence: Evidence, posts: Sequence[Post]) -> int:
    """Posts that were repeated because the poster was killed before it could record the first one."""
    kills = evidence.faults_of("degrade", "outage")
    excused = 0
    for before, post in pairwise(posts):
        killed = any(fault.began <= before["at"] + 1000 and before["at"] <= fault.ended + 1000 for fault in kills)
        excused += killed and post["at"] - before["at"] <= REPOST_WINDOW_MS
    return excused
