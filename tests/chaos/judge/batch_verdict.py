"""The verdict on batches: each line in exactly one file, and none bought twice. Standard library only.

`python -m tests.chaos.judge.batch_verdict DIRECTORY` reads `batches.jsonl` (what the client was answered), the inputs
and the files of results beside it, the invoice of the upstream (`calls-*.jsonl`) and the kills (`faults.jsonl`).
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.judge.promise import Promise, none_of

CUT_MS = 3000.0
"""A worker that is killed this long after an answer may not have settled it yet."""


def judge(directory: Path) -> dict[str, Any]:
    """The promises and the figures of a run."""
    batches = list(_rows(directory / "batches.jsonl"))
    wrong: dict[str, list[str]] = defaultdict(list)
    for batch in batches:
        _check_files(directory, batch, wrong)
    calls = _calls(directory)
    kills = [fault["began"] / 1000 for fault in _rows(directory / "faults.jsonl") if fault["kind"] == "worker"]
    promises = [
        none_of("each line is in a file", wrong["missing"]),
        none_of("no custom_id is in two rows", wrong["twice"]),
        none_of("no row is of another batch", wrong["foreign"]),
        none_of("each file is whole", wrong["torn"]),
        none_of("the counts are those of the files", wrong["counts"]),
        _bought_once(calls, kills),
        none_of("each answered line was bought", [name for name in wrong["answered"] if name not in calls]),
    ]
    deaths = Counter(fault.get("step", fault["kind"]) for fault in _rows(directory / "faults.jsonl"))
    figures = {
        "batches": len(batches),
        "lines": sum(batch["lines"] for batch in batches),
        "calls": sum(map(len, calls.values())),
        "killed_at": dict(deaths.most_common()),
    }
    return {"kept": all(each.kept for each in promises), "promises": [*map(asdict, promises)], "figures": figures}


def _check_files(directory: Path, batch: dict[str, Any], wrong: dict[str, list[str]]) -> None:
    expected = {row["custom_id"] for row in _rows(directory / batch["input"])}
    seen_ids: Counter[str] = Counter()
    for kind in ("output", "error"):
        name = batch[kind]
        data = (directory / name).read_bytes() if name else b""
        if data and not data.endswith(b"\n"):
            wrong["torn"].append(name)
        for row in data.splitlines():
            try:
                parsed = json.loads(row)
                custom_id = parsed["custom_id"]
            except (ValueError, KeyError):
                wrong["torn"].append(f"{name}: {row[:60]!r}")
                continue
            seen_ids[custom_id] += 1
            if kind == "output":
                wrong["answered"].append(custom_id)
    wrong["missing"] += sorted(expected - seen_ids.keys())
    wrong["twice"] += [name for name, count in seen_ids.items() if count > 1]
    wrong["foreign"] += sorted(seen_ids.keys() - expected)
    counts = batch["counts"]
    if counts["completed"] + counts["failed"] != counts["total"] or counts["total"] != len(expected):
        wrong["counts"].append(f"{batch['id']}: {counts}")


def _bought_once(calls: dict[str, list[tuple[float, float]]], kills: list[float]) -> Promise:
    """No line is bought twice, unless a worker was killed during the call before."""
    again = {name: sorted(spans) for name, spans in calls.items() if len(spans) > 1}
    unexplained = [name for name, spans in again.items() if any(not _was_cut(span, kills) for span in spans[:-1])]
    promise = none_of("no line is bought twice", unexplained)
    extra = sum(len(spans) - 1 for spans in again.values())
    return Promise(
        promise.name, promise.kept, f"{promise.finding} ({extra} again, cut by a killed worker)", promise.examples
    )


def _was_cut(span: tuple[float, float], kills: list[float]) -> bool:
    began, ended = span
    return any(began - 0.1 <= kill <= ended + CUT_MS / 1000 for kill in kills)


def _calls(directory: Path) -> dict[str, list[tuple[float, float]]]:
    """The calls by the line that they answer: when each began and ended."""
    begun: dict[tuple[str, int], tuple[str, float]] = {}
    calls: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in directory.glob("calls-*.jsonl"):
        for row in _rows(path):
            key = path.name, row["call"]
            if row["event"] == "received":
                begun[key] = row["job"], row["wall"]
            else:
                name, began = begun.pop(key)
                calls[name].append((began, row["wall"]))
    for name, began in begun.values():
        calls[name].append((began, float("inf")))
    return calls


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open("rb") as file:
            yield from map(json.loads, file)


if __name__ == "__main__":
    verdict = judge(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(verdict) + "\n")
    sys.exit(0 if verdict["kept"] else 1)
