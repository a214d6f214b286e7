"""Where the last workers of a pool ran, why they ended, and the command that starts one there, in words."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.producers.worker_log_text import describe_log, start_command_of
from openfall.router_core.state.last_workers import LastWorker

MAX_NAMED = 3


def describe_start(last: Sequence[LastWorker]) -> str:
    """Where to start a worker, and where to look for the end of the last one. `last`: the one that beat last first."""
    if not last:
        return "Start one on a machine of the pool: Redis knows of no earlier one"
    hosts = tuple(dict.fromkeys(worker.host or "an unknown host" for worker in last))
    more = f" and {len(hosts) - MAX_NAMED} more" if hosts[MAX_NAMED:] else ""
    where = f"{', '.join(hosts[:MAX_NAMED])}{more}"
    at = f" on {hosts[0]}" if len(hosts) > 1 else " there"
    log = f": why it ended is at the end of its log ({describe_log(last[0].log)})" if last[0].log else ""
    return f"Start one on {where}. {last[0].name} beat last{at}{log}"


def start_command(pool: str, last: Sequence[LastWorker]) -> str:
    """The command that starts a worker of a pool as its last one was started."""
    return start_command_of(last[0].log if last else "", pool)


def start_commands(last: Sequence[LastWorker]) -> tuple[str, str]:
    """The same for every pool: the host, if it is one for all of them, and the commands. Empty: no worker is known."""
    first: dict[str, LastWorker] = {}
    for worker in last:
        first.setdefault(worker.pool, worker)
    by_host: dict[str, dict[str, None]] = {}
    for pool, worker in first.items():
        by_host.setdefault(worker.host, {})[start_command_of(worker.log, pool)] = None
    texts = {host: "; ".join(commands) for host, commands in by_host.items()}
    if len(texts) == 1:
        return next(iter(texts.items()))
    return "", "; ".join(f"on {host or 'an unknown host'}: {text}" for host, text in texts.items())
