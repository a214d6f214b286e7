"""The verdict on budgets: the provider's own invoice, after each call. Standard library and redis only.

`python -m tests.chaos.judge.budget_verdict DIRECTORY URL` reads `invoice.jsonl` (what the provider billed, in the order
of the calls), `naive.jsonl` (the same for check-then-record), `limits.json`, and the sums and results in Redis.
"""

from __future__ import annotations

import json
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from tests.chaos.judge.promise import Promise, none_of

Call = Mapping[str, Any]


def judge(directory: Path, store: Any) -> dict[str, Any]:
    """The promises and the figures of a run."""
    limits: dict[str, int] = json.loads((directory / "limits.json").read_text())
    calls, sums = list(_rows(directory / "invoice.jsonl")), _budget_sums(store)
    worst, overruns = _replay(calls, limits)
    naive, _ = _replay(_rows(directory / "naive.jsonl"), limits)
    results = {key.removeprefix("of:result:"): json.loads(store.get(key)) for key in store.scan_iter("of:result:*")}
    promises = [
        none_of("the invoice exceeds a limit after no call", overruns),
        none_of("nothing stays reserved", [name for name, row in sums.items() if row["reserved"]]),
        Promise("no sum drifts", not (drift := int(store.hget("of:counters", "budget_drift") or 0)), str(drift)),
        _ledger_is_the_invoice(calls, sums, _ledger(store)),
        none_of("each known cost was billed for its job", _unbilled(calls, results)),
        _each_job_ended(store, len(results)),
    ]
    figures = {
        "calls": len(calls),
        "invoice_usd": sum(call["nusd"] for call in calls) / 1e9,
        "cut_off": sum(call["cut"] for call in calls),
        "workers_killed": sum(1 for _ in _rows(directory / "kills.jsonl")),
        "calls_killed": sum(kill["calls"] for kill in _rows(directory / "kills.jsonl")),
        "highest_share_of_a_limit": {name: round(worst[name], 3) for name in limits},
        "check_then_record": {"house": round(naive["house"], 3)},
        "ends": dict(Counter(str(result.get("status", "answered")) for result in results.values())),
    }
    return {"kept": all(each.kept for each in promises), "promises": [*map(asdict, promises)], "figures": figures}


def _replay(calls: Iterable[Call], limits: Mapping[str, int]) -> tuple[dict[str, float], list[str]]:
    """The highest share of each limit that was ever billed, and the calls after which it was exceeded."""
    billed, worst = dict.fromkeys(limits, 0), dict.fromkeys(limits, 0.0)
    overruns = []
    for call in calls:
        for name in ("house", call["group"], f"each:{call['producer']}"):
            if name not in limits:
                continue
            billed[name] += call["nusd"]
            worst[name] = max(worst[name], billed[name] / limits[name])
            if billed[name] > limits[name]:
                overruns.append(f"call {call['call']}: {name} at {billed[name]} of {limits[name]}")
    return worst, overruns


def _ledger_is_the_invoice(calls: list[Call], sums: Mapping[str, Mapping[str, int]], ledger: Counter[str]) -> Promise:
    """What is booked is billed; what is billed and not booked may have been billed, as the budget has it."""
    house, billed = sums["house"], sum(call["nusd"] for call in calls)
    missing = billed - house["spent"]
    exact = house["spent"] == ledger["nusd"] and house["unconfirmed"] == ledger["unconfirmed"]
    kept = exact and 0 <= missing <= house["unconfirmed"]
    usd = [f"${amount / 1e9:.6f}" for amount in (house["spent"], missing, house["unconfirmed"], billed)]
    finding = f"{usd[0]} booked + {usd[1]} of unknown cost (at most {usd[2]}) = {usd[3]} billed"
    return Promise("ledger and invoice agree to the nanodollar", kept, finding)


def _unbilled(calls: Iterable[Call], results: Mapping[str, Any]) -> list[str]:
    """Jobs with an attempt of a cost that the provider did not bill for them."""
    bills: dict[str, Counter[int]] = {}
    for call in calls:
        bills.setdefault(call["job"], Counter())[call["nusd"]] += 1
    wrong = []
    for job, result in results.items():
        costs = Counter(cost for attempt in result.get("attempts", ()) if (cost := attempt.get("cost_nusd")))
        if costs - bills.get(job, Counter()):
            wrong.append(f"{job}: {dict(costs)}")
    return wrong


def _each_job_ended(store: Any, results: int) -> Promise:
    accepted, unfinished = int(store.hget("of:counters", "accepted") or 0), int(store.zcard("of:unfinished"))
    kept = unfinished == 0 and results == accepted
    return Promise("each accepted job has its end", kept, f"{results} of {accepted}, {unfinished} unfinished")


def _budget_sums(store: Any) -> dict[str, dict[str, int]]:
    """The sums by budget and whose it is; the windows of a run that passes midnight are added up."""
    names = ("spent", "reserved", "unconfirmed", "calls", "refused", "needed")
    sums: dict[str, dict[str, int]] = {}
    for key, packed in store.execute_command("HGETALL", "of:budget-sums", NEVER_DECODE=True).items():
        budget, _, rest = key.decode().partition(":")
        owner = rest.partition(":")[2]
        row = sums.setdefault(f"{budget}:{owner}" if owner else budget, dict.fromkeys(names, 0))
        for name, (value,) in zip(names, struct.iter_unpack("<Q", packed), strict=False):
            row[name] += value
    return sums


def _ledger(store: Any) -> Counter[str]:
    """The sums of all rows: eight numbers in a fixed order, then some with names."""
    totals: Counter[str] = Counter()
    for key in store.scan_iter("of:ledger:*"):
        for text in store.hvals(key):
            words = text.split(" ")
            names = ("calls", "ms", "in", "out", "nusd", "unpriced", "longest", "dearest", *words[8::2])
            for name, amount in zip(names, (*words[:8], *words[9::2]), strict=True):
                totals[name] += int(amount)
    return totals


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open("rb") as file:
            yield from map(json.loads, file)


if __name__ == "__main__":
    with redis.Redis.from_url(sys.argv[2], decode_responses=True, socket_timeout=60) as client:
        verdict = judge(Path(sys.argv[1]), client)
    sys.stdout.write(json.dumps(verdict) + "\n")
    sys.exit(0 if verdict["kept"] else 1)
