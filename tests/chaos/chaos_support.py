"""Helpers for the tests that start a whole chaos run, and for forged evidence."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_environ(directory: Path) -> dict[str, str]:
    """The environment of a run that keeps its files in this directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}


def find_processes(directory: Path) -> list[str]:
    """The command lines that name this directory."""
    readout = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            readout.append(command)
    return readout


def check_that_sigterm_leaves_nothing(argv: Sequence[str], directory: Path) -> None:
    """Start a run, stop it with SIGTERM, and see every process gone and the evidence kept."""
    with subprocess.Popen(argv, cwd=ROOT, env=run_environ(directory), stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "jobs over" in run.stderr.readline()
        run.send_signal(signal.SIGTERM)
        errors = run.stderr.read()
        assert run.wait(30) == 1
    assert f"The evidence is in {directory}" in errors
    deadline = time.monotonic() + 10
    while (left := find_processes(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def encode_resp(*parts: str) -> bytes:
    """A command as the append-only file has it."""
    encoded = [part.encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def find_foreign_imports(directory: Path) -> set[str]:
    """What the modules of a directory import besides the standard library, redis and each other."""
    names: set[str] = set()
    for path in directory.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {str(node.module)} if isinstance(node, ast.ImportFrom) else set()
    known = {*sys.stdlib_module_names, "redis"}
    return {n for n in names if n.split(".")[0] not in known and not n.startswith("tests.chaos.judge")}
