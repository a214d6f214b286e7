"""The verdict on a card whose manager and engine are hit: the next step, each job once, no load too many.

`python -m tests.chaos.judge.card_verdict DIRECTORY --url URL` reads `episodes.jsonl` (the jobs of each fault, when it
was, how many loads are needed), `engine.jsonl` (what the engine did), and the record of each job in Redis. It uses the
standard library and Redis' client only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from tests.chaos.judge.promise import PATIENCE, Promise, none_of

NEXT_STEP_SECONDS = 15.0 * PATIENCE
MORE_LOADS = 1
"""A fault may cost one load more than its jobs need."""

FLEETS = 2

Rows = Sequence[Mapping[str, Any]]


def judge(episodes: Rows, engine: Rows, records: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The promises and the figures of a run. `records`: by job."""
    steps = {episode["name"]: next_step(episode, engine) for episode in episodes}
    loads = {episode["name"]: count_loads(episode, engine) for episode in episodes}
    jobs = {job: text for episode in episodes for job, text in episode["jobs"].items()}
    answers = Counter(row["job"] for row in engine if row["event"] == "answered")
    allowed = {text: int(records[job].get("deliveries", 0)) for job, text in jobs.items()}
    promises = [
        none_of("each job is answered", [text for job, text in jobs.items() if not _is_answered(records[job])]),
        none_of("each answer is of the engine", [text for text in jobs.values() if not answers[text]]),
        none_of("no job is called more often than delivered", [t for t in allowed if answers[t] > allowed[t]]),
        _within(f"the next step comes within {NEXT_STEP_SECONDS:g} s", steps),
        none_of(
            "a fault costs one load at most",
            [
                f"{episode['name']}: {loads[episode['name']]} loads for {episode['loads']}"
                for episode in episodes
                if loads[episode["name"]] > episode["loads"] + MORE_LOADS
            ],
        ),
        none_of("no call waits in the engine for a load", _strays(engine)),
    ]
    figures = {"jobs": len(jobs), "loads": sum(loads.values()), "next_step_s": steps}
    return {"kept": all(each.kept for each in promises), "promises": [*map(asdict, promises)], "figures": figures}


def next_step(episode: Mapping[str, Any], engine: Rows) -> float | None:
    """The seconds from the fault to the next load or call of a model of the episode. None: there was none."""
    after = [row["at"] for row in engine if row["event"] in ("load", "call") and row["at"] > episode["fault_at"]]
    return round(min(after) - episode["fault_at"], 1) if after else None


def count_loads(episode: Mapping[str, Any], engine: Rows) -> int:
    """The loads that began during the episode."""
    began, ended = episode["began_at"], episode["ended_at"]
    return sum(row["event"] == "load" and began <= row["at"] <= ended for row in engine)


def _within(name: str, steps: Mapping[str, float | None]) -> Promise:
    late = [f"{episode}: {step} s" for episode, step in steps.items() if step is None or step > NEXT_STEP_SECONDS]
    longest = max((step for step in steps.values() if step is not None), default=0.0)
    return Promise(name, not late, f"the longest {longest:.1f} s", tuple(late[:5]))


def _is_answered(record: Mapping[str, str]) -> bool:
    return (record.get("state"), record.get("status")) == ("done", "answered")


def _strays(engine: Rows) -> list[str]:
    """Calls of a model that was not in memory: the engine would load it, and evict another, by itself."""
    memory: set[tuple[int, str]] = set()
    strays = []
    for row in engine:
        key = row["pid"], row["model"]
        if row["event"] == "loaded":
            memory.add(key)
        elif row["event"] == "unloaded":
            memory.discard(key)
        elif row["event"] == "call" and key not in memory:
            strays.append(f"{row['job']}: {row['model']}")
    return strays


def read(directory: Path, clients: Sequence[Any]) -> tuple[Rows, Rows, dict[str, dict[str, str]]]:
    """The evidence of a run."""
    episodes, engine = (_rows(directory / name) for name in ("episodes.jsonl", "engine.jsonl"))
    records = {job: record_of(job, clients) for episode in episodes for job in episode["jobs"]}
    return episodes, engine, records


@contextmanager
def fleets(url: str) -> Iterator[Sequence[Any]]:
    """A client for each fleet: they have a database each."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(redis.Redis.from_url(url, db=number, decode_responses=True)) for number in range(FLEETS)
        ]


def record_of(job: str, clients: Sequence[Any]) -> dict[str, str]:
    """The record of a job, in whichever fleet it is."""
    return next(filter(None, (client.hgetall(f"of:job:{job}") for client in clients)), {})


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    with fleets(options.url) as stores:
        verdict = judge(*read(options.directory, stores))
    sys.stdout.write(json.dumps(verdict) + "\n")
    sys.exit(0 if verdict["kept"] else 1)
