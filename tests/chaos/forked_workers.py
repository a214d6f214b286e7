"""Many workers that fork from one import: `python -m tests.chaos.forked_workers CONFIG SLOTS DIRECTORY`.

Each line of standard input is a pool: a worker of it starts, in a process of its own, and its pid is printed. When a
worker ends, `ended PID STATUS` is printed. At the end of the input all of them are killed.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import sys

from openfall.workers import commands

IMPORTED_FIRST = (
    "uvloop",
    "aiohttp",
    *(f"openfall.workers.{name}" for name in ("process", "config_watcher", "execution.job_traces")),
)
"""What a worker imports when it starts: half of its start."""


def start(pool: str, config: str, slots: str, directory: str, number: int) -> int:
    """Fork a worker; its output goes to a file. Returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(f"{directory}/worker-{number:04}-{pool}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    status = 1
    try:
        status = commands.main(["work", pool, "--config", config, "--announce", "--slots", slots])
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(config: str, slots: str, directory: str) -> None:
    """Start workers until the input ends."""
    for name in IMPORTED_FIRST:
        importlib.import_module(name)
    gc.freeze()
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wakes, selectors.EVENT_READ)
    running: set[int] = set()
    number, text = 0, b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wakes in ready:
            os.read(wakes, 4096)
            _report_ended(running)
        if 0 in ready:
            chunk = os.read(0, 4096)
            if not chunk:
                break
            *pools, text = (text + chunk).split(b"\n")
            for pool in pools:
                number += 1
                running.add(pid := start(pool.decode(), config, slots, directory, number))
                sys.stdout.write(f"started {pid} {number} {pool.decode()}\n")
            sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _report_ended(running: set[int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        running.discard(pid)
        sys.stdout.write(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
