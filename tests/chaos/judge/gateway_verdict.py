"""The verdict on a run at the HTTP gateway. The witnesses are the clients, the upstreams and the server's own log."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.judge.aof import read_commands
from tests.chaos.judge.evidence import Call, Evidence, read_lines
from tests.chaos.judge.promise import PATIENCE, Promise, none_of, spread

ORPHAN_SECONDS = 20.0 * PATIENCE
"""After this time no job runs for a caller who has left."""
AFTER_RESTART_SECONDS = 35.0 * PATIENCE
"""The same for a caller who left while its gateway restarted in good order, or stood still: it asks callers to come
again within 30 s, and notices nothing meanwhile."""
ON_ITS_WAY_MS = 2000.0
"""What reached a client this long before it was killed may not have reached its notes."""
ENDS = ("answered", "left", "stopped")
_REQUEST = re.compile(rb"r\d{6}")


@dataclass
class GatewayEvidence:
    """What a verdict on a run at the gateway rests on. Requests go by their names, which their prompts have."""

    plans: dict[str, str]
    """The kind of each request."""
    notes: dict[str, list[dict[str, Any]]]
    """What the clients noted about each request."""
    events: dict[str, dict[str, list[dict[str, Any]]]]
    """The events of Responses, by request and by where they were read."""
    jobs: dict[str, list[str]]
    """The jobs of each request, by the prompts in the server's log."""
    endings: dict[str, str]
    """The status of the last result of each job, by the server's log."""
    calls: dict[str, list[Call]]
    client_kills: dict[int, list[float]] = field(default_factory=dict)
    clients: int = 1
    running: list[str] = field(default_factory=list)
    """Jobs that are neither ended nor held."""


def read_gateway(evidence: Evidence, directory: Path) -> GatewayEvidence:
    """Read what the witnesses of the gateway wrote."""
    notes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    events: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(directory.glob("client-*.jsonl")):
        for row in read_lines(path):
            notes[row["id"]].append(row)
    for path in sorted(directory.glob("events-*.jsonl")):
        for row in read_lines(path):
            events[row["id"]][row["where"]].append(row)
    jobs, endings = _read_jobs(directory)
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        if _REQUEST.fullmatch(call.job.encode()):  # the others are probes
            calls[call.job].append(call)
    kills: dict[int, list[float]] = defaultdict(list)
    for fault in evidence.faults_of("client"):
        kills[int(fault.job.rpartition("-")[2])].append(fault.ended)  # until then it may have read a response
    plans = {row["id"]: row["kind"] for row in read_lines(directory / "requests.jsonl")}
    clients = max(1, len(list(directory.glob("client-*.jsonl"))))
    return GatewayEvidence(plans, notes, events, jobs, endings, calls, kills, clients, sorted(evidence.running))


def _read_jobs(directory: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The jobs of each request, and how each job ended."""
    jobs: dict[str, list[str]] = defaultdict(list)
    endings: dict[str, str] = {}
    for command in read_commands(directory / "appendonlydir"):
        if command[0].upper() != b"SET":
            continue
        if command[1].startswith(b"of:prompt:"):
            if request := _REQUEST.search(command[2].partition(b"\n")[2]):
                jobs[request[0].decode()].append(command[1].removeprefix(b"of:prompt:").decode())
        elif command[1].startswith(b"of:result:"):
            endings[command[1].removeprefix(b"of:result:").decode()] = str(json.loads(command[2]).get("status"))
    return {request: list(dict.fromkeys(ids)) for request, ids in jobs.items()}, endings


def judge(evidence: Evidence) -> list[Promise]:
    """Every promise of the run."""
    assert evidence.directory is not None
    return list(promises(evidence, read_gateway(evidence, evidence.directory)))


def promises(evidence: Evidence, gateway: GatewayEvidence) -> Iterator[Promise]:
    """Every promise, over what was read."""
    yield from _ends(evidence, gateway)
    yield from _orphans(evidence, gateway)
    yield none_of("nothing is bought twice where a repeat came", list(_bought_twice(evidence, gateway)))
    yield from _numbers(gateway)


def _ends(evidence: Evidence, gateway: GatewayEvidence) -> Iterator[Promise]:
    def has(request: str, *names: str) -> bool:
        return any(note["event"] in names for note in gateway.notes.get(request, ()))

    without = [request for request in gateway.plans if not has(request, *ENDS)]
    yield none_of(f"of {len(gateway.plans)} requests, each got its own answer, or was left by its caller", without)
    wrong = [
        f"{request}: {note['why']}"
        for request, notes in gateway.notes.items()
        for note in notes
        if note["event"] == "wrong"
    ]
    yield none_of("no request got what it must not get", wrong)
    known = [job for ids in gateway.jobs.values() for job in ids]
    lost = [job for job in known if job not in gateway.endings and job not in evidence.unfinished]
    yield none_of(f"of {len(known)} accepted jobs, none is lost", lost)
    yield none_of("no job was given two terminal results", [j for j, n in evidence.history.results.items() if n > 1])


def _orphans(evidence: Evidence, gateway: GatewayEvidence) -> Iterator[Promise]:
    yield none_of(f"within {ORPHAN_SECONDS:.0f} s of the last caller, no job runs or waits", gateway.running)
    late = []
    for request, notes in gateway.notes.items():
        left = next((note["at"] for note in notes if note["event"] == "left"), None)
        for call in gateway.calls.get(request, ()) if left is not None else ():
            after = None if call.ended is None else (call.ended - left) / 1000
            if after is None or after > _longest(evidence, left or 0.0):
                late.append(f"{request}: {'never' if after is None else f'{after:.1f} s'}")
    yield none_of(f"a call whose caller left for good ends within {ORPHAN_SECONDS:.0f} s", late)


def _longest(evidence: Evidence, left: float) -> float:
    """How long a call may go on, in seconds, after its caller has left."""
    faults = evidence.faults_of("restart", "frozen")
    disturbed = any(fault.began - 1000 <= left + 20_000 and left <= fault.ended + 30_000 for fault in faults)
    return AFTER_RESTART_SECONDS if disturbed else ORPHAN_SECONDS


def _bought_twice(evidence: Evidence, gateway: GatewayEvidence) -> Iterator[str]:
    """The requests with more calls than one, without those that a kill of a worker or of the upstream cut."""
    for request, calls in gateway.calls.items():
        bought = [call for call in calls if call.ended is not None]  # else the upstream itself was killed
        taken_over = sum(_takeovers(evidence, job) for job in gateway.jobs.get(request, ()))
        if len(bought) - 1 > taken_over and not _was_on_its_way(evidence, gateway, request, bought):
            jobs = len(gateway.jobs.get(request, ()))
            yield f"{request} ({gateway.plans.get(request)}): {len(bought)} calls, {jobs} jobs"


def _takeovers(evidence: Evidence, job: str) -> int:
    return sum(event["event"] == "queued" and "worker" in event for event in evidence.history.stories.get(job, ()))


def _was_on_its_way(evidence: Evidence, gateway: GatewayEvidence, request: str, calls: list[Call]) -> bool:
    """The client was killed just after it got its answer, its id or its head, before it could note that. Or it sent the
    request again when the answer was there, and left, or was killed, while the gateway wrote it."""
    answered = min((call.ended for call in calls if call.answered and call.ended), default=None)
    leaving = [note["at"] for note in gateway.notes.get(request, ()) if note["event"] == "leaving"]
    if answered is not None and any(answered < at for at in leaving):
        return True
    kills = gateway.client_kills.get(int(request[1:]) % gateway.clients, [])
    if answered is not None and any(answered < kill and _is_repeating(gateway, request, kill) for kill in kills):
        return True
    moments = [moment for call in calls for moment in (call.received, call.ended) if moment is not None]
    if gateway.plans.get(request, "").startswith("background"):  # it gets its id when the job is accepted
        stories = (evidence.history.stories.get(job, ()) for job in gateway.jobs.get(request, ()))
        moments += [float(story[0]["at"]) for story in stories if story]
    return any(moment <= kill <= moment + ON_ITS_WAY_MS for kill in kills for moment in moments)


def _is_repeating(gateway: GatewayEvidence, request: str, moment: float) -> bool:
    """Whether the client has sent the request again, and has no response yet."""
    notes = [note["event"] for note in gateway.notes.get(request, ()) if note["at"] <= moment]
    return notes[-1:] == ["repeated"]


def _numbers(gateway: GatewayEvidence) -> Iterator[Promise]:
    gaps, unlike = [], []
    for request, read in gateway.events.items():
        live = [row["number"] for row in read.get("live", ())]
        if live != list(range(len(live))):
            gaps.append(f"{request}: {live[:40]}")
        first = {row["number"]: row["digest"] for row in read.get("live", ())}
        for where, rows in read.items():
            differing = [row["number"] for row in rows if first.get(row["number"]) not in (None, row["digest"])]
            if differing or (where != "live" and len(rows) != len(first)):
                unlike.append(f"{request} at {where}: {differing[:5]} of {len(rows)}, {len(first)} live")
    streams = len(gateway.events)
    yield none_of(f"of {streams} resumed Responses, each gave every event once", gaps)
    yield none_of("every gateway numbers the events of a Response alike", unlike)


def report(evidence: Evidence) -> dict[str, Any]:
    """The figures beside the promises."""
    assert evidence.directory is not None
    gateway = read_gateway(evidence, evidence.directory)
    ends = Counter(note["event"] for notes in gateway.notes.values() for note in notes)
    broken = Counter(
        re.sub(r"[^A-Za-z0-9_ :].*", "", str(note["why"]))[:60]
        for notes in gateway.notes.values()
        for note in notes
        if note["event"] == "broken"
    )
    held = sum(any(event["event"] == "held" for event in story) for story in evidence.history.stories.values())
    left = [
        (call.ended - note["at"]) / 1000
        for request, notes in gateway.notes.items()
        for note in notes
        if note["event"] == "left"
        for call in gateway.calls.get(request, ())
        if call.ended is not None
    ]
    return {
        "figures": {
            "requests": len(gateway.plans),
            "ends": dict(ends),
            "broken_attempts": dict(broken.most_common(12)),
            "jobs": sum(map(len, gateway.jobs.values())),
            "calls": sum(map(len, gateway.calls.values())),
            "taken_over": sum(_takeovers(evidence, job) for ids in gateway.jobs.values() for job in ids),
            "held": held,
            "faults": dict(sorted(Counter(fault.kind for fault in evidence.faults).items())),
            "left_to_ended_s": spread(left),
        }
    }
