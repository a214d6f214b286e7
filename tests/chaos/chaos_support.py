"""Helpers for the tests that start a whole chaos run, and for forged evidence."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

ROOT = Path(__file__).resolve().parents[2]


def run_environ(directory: Path) -> dict[str, str]:
    """The environment of a run that keeps its files in this directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory), "OPENFALL_CHAOS_PATIENCE": "4"}


def find_processes(directory: Path) -> list[str]:
    """The command lines that name this directory."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            commands.append(command)
    return commands


def run_to_verdict(options: Sequence[str], directory: Path) -> dict[str, Any]:
    """Run a scenario; every promise must be kept, and nothing may be left of the run. Returns the verdict."""
    argv = [sys.executable, "-m", "tests.chaos", *options]
    run = subprocess.run(argv, cwd=ROOT, env=run_environ(directory), capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    verdict: dict[str, Any] = json.loads(run.stdout)
    parts = verdict.get("kinds", [verdict])
    broken = [(part.get("name"), promise) for part in parts for promise in part["promises"] if not promise["kept"]]
    assert (broken, verdict["problems"]) == ([], []), (broken, verdict["problems"])
    assert (run.returncode, verdict["kept"]) == (0, True)
    assert list(directory.iterdir()) == []
    assert find_processes(directory) == []
    return verdict


def check_that_sigterm_leaves_nothing(options: Sequence[str], directory: Path) -> None:
    """Start a run, stop it with SIGTERM, and see every process gone and the evidence kept."""
    argv = [sys.executable, "-m", "tests.chaos", *options]
    with subprocess.Popen(argv, cwd=ROOT, env=run_environ(directory), stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        begun = []
        while not (begun and "jobs over" in begun[-1]):
            begun.append(run.stderr.readline())
            assert begun[-1], begun
        run.send_signal(signal.SIGTERM)
        errors = run.stderr.read()
        assert run.wait(60) == 1
    assert f"The evidence is in {directory}" in errors
    deadline = time.monotonic() + 60
    while (left := find_processes(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def encode_resp(*parts: str) -> bytes:
    """A command as the append-only file has it."""
    encoded = [part.encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def forge_stories(stories: Mapping[str, Iterable[Mapping[str, Any]]]) -> bytes:
    """The writes of the events of jobs."""
    rows = ((f"of:events:{job}", json.dumps(event)) for job, story in stories.items() for event in story)
    return b"".join(encode_resp("RPUSH", *row) for row in rows)


def forge_call(number: int, job: str, began_ms: float, ended_ms: float, **more: Any) -> list[dict[str, Any]]:
    """The lines of an upstream's log about one answered call."""
    call = {"call": number, "job": job, **more}
    return [
        {**call, "event": "received", "wall": began_ms / 1000},
        {**call, "event": "answered", "wall": ended_ms / 1000},
    ]


def forge_run(
    directory: Path, store: redis.Redis, aof: bytes, results: Mapping[str, Any], files: Mapping[str, Iterable[Any]]
) -> None:
    """Write the evidence of a run: the append-only file, the results of jobs that are done, and the lines of files."""
    for job, result in results.items():
        store.set(f"of:result:{job}", json.dumps(result))
        store.hset(f"of:job:{job}", "state", "done")
    (directory / "appendonlydir").mkdir(exist_ok=True)
    (directory / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(aof)
    for name, rows in files.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def find_foreign_imports(directory: Path) -> set[str]:
    """What the modules of a directory import besides the standard library, redis and each other."""
    names: set[str] = set()
    for path in directory.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {str(node.module)} if isinstance(node, ast.ImportFrom) else set()
    known = {*sys.stdlib_module_names, "redis"}
    return {n for n in names if n.split(".")[0] not in known and not n.startswith("tests.chaos.judge")}
