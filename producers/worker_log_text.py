"""Where the log of a worker is, as the worker wrote it into Redis: a file, or the command that shows it."""

from __future__ import annotations

import re

from openfall.producers.shell_command import shell_command, shell_word

_UNIT, _CONTAINER = r"[A-Za-z0-9:_.\\@-]+\.service", r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""The characters of the name of a unit of systemd, and of a container."""
_JOURNAL = re.compile(rf"journalctl --unit ({_UNIT}|'openfall-work@\*')( _PID=\d+)?")
_DOCKER = re.compile(rf"docker logs ({_CONTAINER})")
_KUBERNETES = re.compile(rf"kubectl logs --previous {_CONTAINER}")
_OF_UP = re.compile(r"/log/worker-[^/]+\.log")
"""A log that `openfall up` keeps, and `openfall work --procs` too."""


def describe_log(log: str) -> str:
    """The command that shows a log, or its file as a word of a shell. Any other text is such a word too."""
    is_command = any(command.fullmatch(log) for command in (_JOURNAL, _DOCKER, _KUBERNETES))
    return log if is_command else shell_word(log)


def describe_log_at(log: str, host: str) -> str:
    """The same, with the host on which it is. Empty: no log is known."""
    return f"{describe_log(log)}{f' on {host}' if host else ''}" if log else ""


def start_command_of(log: str, pool: str) -> str:
    """The command that starts a worker of a pool as the one with this log was started, as far as its log tells."""
    if (unit := _JOURNAL.fullmatch(log)) and not unit[1].startswith("'"):
        return shell_command("systemctl restart", unit[1])
    if container := _DOCKER.fullmatch(log):
        return shell_command("docker start", container[1])
    work = shell_command("openfall work", pool)
    return f"openfall up, or {work}" if _OF_UP.search(log) else work
