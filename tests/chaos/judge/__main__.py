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

from tests.chaos.judge import fault_verdict, gateway_verdict, outage_verdict, torture_verdict
from tests.chaos.judge.aof import UnreadableLog
from tests.chaos.judge.evidence import gather

VERDICTS: dict[str, Any] = {
    "torture": torture_verdict,
    "faults": fault_verdict,
    "outage": outage_verdict,
    "gateway": gateway_verdict,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the evidence and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.judge")
    parser.add_argument("scenario", choices=VERDICTS)
    parser.add_argument("directory", type=Path, help="what the run wrote down")
    parser.add_argument("--url", required=True, help="the server, still running")
    options = parser.parse_args(argv)
    verdict = VERDICTS[options.scenario]
    try:
        with redis.Redis.from_url(options.url, decode_responses=True, socket_timeout=30) as client:
            evidence = gather(options.directory, client)
    except (OSError, UnreadableLog, redis.RedisError) as error:
        sys.stderr.write(f"no verdict: {error}\n")
        return 2
    promises = verdict.judge(evidence)
    kept = all(promise.kept for promise in promises)
    output = {"kept": kept, "promises": [asdict(promise) for promise in promises], **verdict.report(evidence)}
    sys.stdout.write(json.dumps(output, indent=2) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
