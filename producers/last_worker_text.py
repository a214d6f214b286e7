"""Where the last workers of a pool ran, why they ended, and the command that starts one there, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openfall.router_core.state.last_workers import LastWorker

MAX_NAMED = 3
_UNIT = re.compile(r"journalctl --unit (\S+)")
_CONTAINER = re.compile(r"docker logs (\S+)")
_OF_UP = re.compile(r"/log/worker-[^/]+\.log")
"""A log that `openfall up` keeps."""


def describe_start(last: Sequence[LastWorker]) -> str:
    """Where to start a worker, and where to look for the end of the last one. `last`: the one that beat last first."""
    if not last:
        return "Start one on a machine of the pool: Redis knows of no earlier one"
    hosts = tuple(dict.fromkeys(worker.host or "an unknown host" for worker in last))
    more = f" and {len(hosts) - MAX_NAMED} more" if hosts[MAX_NAMED:] else ""
    where = f"{', '.join(hosts[:MAX_NAMED])}{more}"
    log = f": why it ended is at the end of its log ({last[0].log})" if last[0].log else ""
    return f"Start one on {where}. {last[0].name} beat last there{log}"


def start_command(pool: str, last: Sequence[LastWorker]) -> str:
    """The command that starts a worker of a pool as its last one was started, as far as its log tells."""
    log = last[0].log if last else ""
    if unit := _UNIT.match(log):
        return f"systemctl restart {unit[1]}"
    if container := _CONTAINER.match(log):
        return f"docker start {container[1]}"
    return "openfall up" if _OF_UP.search(log) else f"openfall work {pool}"


def start_commands(last: Sequence[LastWorker]) -> str:
    """The same for every pool. Empty: no worker is known."""
    pools = dict.fromkeys(worker.pool for worker in last)
    commands = (start_command(pool, [worker for worker in last if worker.pool == pool]) for pool in pools)
    return "; ".join(dict.fromkeys(commands))
