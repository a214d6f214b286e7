"""`python -m benchmarks.torture_checker`: exit 0 when all promises were kept, 1 when one was not, 2: no verdict."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import redis

from benchmarks.torture_checker.aof import UnreadableLog
from benchmarks.torture_checker.evidence import gather
from benchmarks.torture_checker.verdict import figures, judge


def main(argv: Sequence[str] | None = None) -> int:
    """Read the witnesses and say what they amount to."""
    options = _parser().parse_args(argv)
    try:
        evidence = gather(options.accepted, options.calls, options.aof, options.url, options.kills)
    except (OSError, UnreadableLog, redis.RedisError) as error:
        sys.stderr.write(f"no verdict: {error}\n")
        return 2
    promises = judge(evidence)
    kept = all(promise.kept for promise in promises)
    if options.json:
        told = {"kept": kept, "promises": [asdict(promise) for promise in promises], "figures": figures(evidence)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        for promise in promises:
            sys.stdout.write(f"{'ok    ' if promise.kept else 'BROKEN'} {promise.name}: {promise.told}\n")
    return 0 if kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture_checker", description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="the submitter's file: one accepted id a line")
    parser.add_argument("--calls", type=Path, required=True, help="the upstream's log")
    parser.add_argument("--aof", type=Path, required=True, help="the server's appendonlydir")
    parser.add_argument("--url", required=True, help="the server, still running")
    parser.add_argument("--kills", type=Path, required=True, help="the faults, as JSON lines")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
