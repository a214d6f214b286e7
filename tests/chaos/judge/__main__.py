"""The judge, a process of its own that imports nothing of openfall: `python -m tests.chaos.judge SCENARIO DIRECTORY`.

It prints its verdict as JSON. Exit status: 0 every promise was kept, 1 one was broken, 2 no verdict is possible.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from tests.chaos.judge import evidence, fault_evidence, fault_verdict, outage_verdict, torture_verdict
from tests.chaos.judge.aof import UnreadableLog

SCENARIOS: dict[str, tuple[Any, Any]] = {
    "torture": (evidence.gather, torture_verdict),
    "faults": (fault_evidence.gather, fault_verdict),
    "outage": (evidence.gather, outage_verdict),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the evidence and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.judge")
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("directory", type=Path, help="what the run wrote down")
    parser.add_argument("--url", required=True, help="the server, still running")
    options = parser.parse_args(argv)
    gather, verdict = SCENARIOS[options.scenario]
    try:
        with redis.Redis.from_url(options.url, decode_responses=True, socket_timeout=30) as client:
            readout = gather(options.directory, client)
    except (OSError, UnreadableLog, redis.RedisError) as error:
        sys.stderr.write(f"no verdict: {error}\n")
        return 2
    promises = verdict.judge(readout)
    kept = all(promise.kept for promise in promises)
    output = {"kept": kept, "promises": [asdict(promise) for promise in promises], **verdict.report(readout)}
    sys.stdout.write(json.dumps(output, indent=2) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
