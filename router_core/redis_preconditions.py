"""The preconditions under which Redis keeps every accepted job: what the server must be and how it must be set.

`check_server` decides over facts of the server. Preflight, `up`, each worker and each client use it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

MIN_VERSION = 7
"""Redis 7.0 has function libraries, and tells a script its rights. Every Valkey reports a version of Redis above it."""

MAX_CLOCK_OFFSET_SECONDS = 5.0
"""Difference of the clocks of this machine and of Redis above which there is a warning."""

SYNC_POLICIES = frozenset({"always", "everysec"})
"""Values of `appendfsync` with which an accepted job is on disk within about a second."""


class Risk(StrEnum):
    """A precondition that is not met, and that an operator may accept by this name."""

    NO_APPEND_ONLY_FILE = "no_append_only_file"
    NO_REGULAR_SYNC = "no_regular_sync"
    EVICTION = "eviction"
    NO_MEMORY_LIMIT = "no_memory_limit"
    UNCHECKED_SERVER = "unchecked_server"
    CLOCK_OFFSET = "clock_offset"


class Fault(StrEnum):
    """A precondition without which openfall does not work."""

    OLD_SERVER = "old_server"
    NO_FUNCTIONS = "no_functions"
    CLUSTER = "cluster"
    READ_ONLY_REPLICA = "read_only_replica"
    WRITE_ERRORS = "write_errors"
    MISSING_RIGHTS = "missing_rights"
    MEMORY_NEARLY_FULL = "memory_nearly_full"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a Redis server says of itself. None: it does not say.

    `user` is the user of the connection. `missing_rights` are written as in an ACL rule: `+hset`, `~rq:*`, `&of:*`.
    `unreadable` are the commands that it refused: their facts are unknown. `clock_offset_seconds` is the
    server's clock minus that of this machine, 0 within the accuracy of the measurement.
    """

    name: Literal["Redis", "Valkey"] = "Redis"
    cli_options: tuple[str, ...] = ()
    version: str | None = None
    user: str = "default"
    has_functions: bool = True
    missing_rights: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    is_cluster: bool = False
    primary: str | None = None
    """The address of its primary, if it is a replica that refuses writes."""
    append_only_file: bool | None = None
    sync_policy: str | None = None
    eviction_policy: str | None = None
    max_memory_bytes: int | None = None
    used_memory_bytes: int | None = None
    failing_writes: tuple[str, ...] = ()
    """The files that it failed to write last."""
    clock_offset_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTerms:
    """What is wanted of a server, beside what openfall needs. Above `max_memory_share` of its memory no job is
    accepted."""

    accepted_risks: tuple[Risk, ...] = ()
    max_memory_share: float = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One precondition that is not met. With an error no job is accepted, unless the risk is `accepted`."""

    name: Risk | Fault
    severity: Literal["error", "warning"]
    message: str
    remedy: str
    accepted: bool = False

    @property
    def is_fatal(self) -> bool:
        return self.severity == "error" and not self.accepted

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"


def check_server(facts: ServerFacts, terms: ServerTerms) -> tuple[Finding, ...]:
    """The preconditions that this server does not meet. The accepted risks are among them, marked as such."""
    if _is_old(facts.version):  # nothing else about it matters
        return tuple(_check_version(facts))
    checks: tuple[Callable[[ServerFacts], Iterator[Finding]], ...] = (
        _check_version, _check_role, _check_durability, _check_eviction, _check_rights, _check_readable, _check_clock,
    )  # fmt: skip
    findings = [finding for check in checks for finding in check(facts)]
    findings += _check_memory(facts, terms.max_memory_share)
    return tuple(replace(finding, accepted=finding.name in terms.accepted_risks) for finding in findings)


def _is_old(version: str | None) -> bool:
    major = re.match(r"\d+", version or "")
    return major is not None and int(major[0]) < MIN_VERSION


def _check_version(facts: ServerFacts) -> Iterator[Finding]:
    remedy = "Install Valkey 7.2 or newer, or Redis 7.0 or newer, and point the address at it."
    if _is_old(facts.version):
        message = f"{facts.name} {facts.version} is too old: it has no function libraries"
        yield Finding(name=Fault.OLD_SERVER, severity="error", message=message, remedy=remedy)
    elif not facts.has_functions:
        message = "this server has no function libraries (FUNCTION), in which openfall keeps its scripts"
        yield Finding(name=Fault.NO_FUNCTIONS, severity="error", message=message, remedy=remedy)


def _check_role(facts: ServerFacts) -> Iterator[Finding]:
    if facts.is_cluster:
        message = "Redis Cluster is not supported: a script of openfall needs all keys on one server"
        remedy = "Use a server with `cluster-enabled no`."
        yield Finding(name=Fault.CLUSTER, severity="error", message=message, remedy=remedy)
    if facts.primary is not None:
        message = "this server is a read-only replica"
        remedy = f"Point the address at its primary, {facts.primary}."
        yield Finding(name=Fault.READ_ONLY_REPLICA, severity="error", message=message, remedy=remedy)


def _check_durability(facts: ServerFacts) -> Iterator[Finding]:
    if facts.append_only_file is False:
        message = "the append-only file is off: a restart of the server loses accepted jobs"
        yield _at_risk(Risk.NO_APPEND_ONLY_FILE, message, _set(facts, "appendonly", "yes"))
    elif facts.sync_policy is not None and facts.sync_policy not in SYNC_POLICIES:
        message = f"`appendfsync {facts.sync_policy}`: a power cut loses the jobs of about half a minute"
        yield _at_risk(Risk.NO_REGULAR_SYNC, message, _set(facts, "appendfsync", "everysec"))
    if facts.failing_writes:
        message = f"the server cannot write its {' and its '.join(facts.failing_writes)}"
        remedy = "Free space on its disk and check the rights of its directory. Its log names the reason."
        yield Finding(name=Fault.WRITE_ERRORS, severity="error", message=message, remedy=remedy)


def _check_eviction(facts: ServerFacts) -> Iterator[Finding]:
    if facts.eviction_policy is not None and facts.eviction_policy != "noeviction":
        message = f"`maxmemory-policy {facts.eviction_policy}`: a server without free memory deletes accepted jobs"
        yield _at_risk(Risk.EVICTION, message, _set(facts, "maxmemory-policy", "noeviction"))


def _check_memory(facts: ServerFacts, max_share: float) -> Iterator[Finding]:
    used, limit = facts.used_memory_bytes, facts.max_memory_bytes
    if limit == 0:
        message = "`maxmemory` is not set: `limits: {max_memory: ...}` has no effect, and jobs may use up all memory"
        yield _warn(Risk.NO_MEMORY_LIMIT, message, _set(facts, "maxmemory", "2gb") + " Choose a size of your own.")
    elif limit is not None and used is not None and used > limit * max_share:
        message = f"Redis uses {used / 2**20:,.0f} MiB of its {limit / 2**20:,.0f} MiB of memory: no job is accepted"
        remedy = "Raise `maxmemory`, or let the workers empty the queues."
        yield Finding(name=Fault.MEMORY_NEARLY_FULL, severity="warning", message=message, remedy=remedy)


def _check_rights(facts: ServerFacts) -> Iterator[Finding]:
    if facts.missing_rights:
        message = f"the Redis user {facts.user!r} lacks rights: {' '.join(facts.missing_rights)}"
        remedy = _allow(facts, facts.missing_rights)
        yield Finding(name=Fault.MISSING_RIGHTS, severity="error", message=message, remedy=remedy)


def _check_readable(facts: ServerFacts) -> Iterator[Finding]:
    """What could not be read: its right, and what is unknown without it."""
    unknown = [
        text
        for text, value in (
            ("its version", facts.version),
            ("its append-only file", facts.append_only_file),
            ("its `appendfsync`", facts.sync_policy if facts.append_only_file is not False else ""),
            ("its eviction policy", facts.eviction_policy),
            ("its `maxmemory`", facts.max_memory_bytes),
            ("its use of memory (`limits: max_memory` has no effect)", facts.used_memory_bytes),
        )
        if value is None
    ]
    if not facts.unreadable or not unknown:
        return
    commands = " and ".join(name.upper().replace("|", " ") for name in facts.unreadable)
    message = f"the Redis user {facts.user!r} may not run {commands}, so openfall cannot check {', '.join(unknown)}"
    remedy = (
        f"{_allow(facts, [f'+{name}' for name in facts.unreadable])}  If the server does not offer it, check these "
        f"settings in its console and write `redis: {{accept_risks: [{Risk.UNCHECKED_SERVER}]}}`."
    )
    yield _warn(Risk.UNCHECKED_SERVER, message, remedy)


def _check_clock(facts: ServerFacts) -> Iterator[Finding]:
    offset = facts.clock_offset_seconds
    if abs(offset) > MAX_CLOCK_OFFSET_SECONDS:
        message = f"the clock of Redis is {abs(offset):,.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
        remedy = "Synchronize both with NTP: a deadline that a caller gives as a time is compared with that of Redis."
        yield _warn(Risk.CLOCK_OFFSET, message, remedy)


def _at_risk(risk: Risk, message: str, remedy: str) -> Finding:
    remedy = f"{remedy} To run without it, write `redis: {{accept_risks: [{risk}]}}` into the configuration."
    return Finding(name=risk, severity="error", message=message, remedy=remedy)


def _warn(risk: Risk, message: str, remedy: str) -> Finding:
    return Finding(name=risk, severity="warning", message=message, remedy=remedy)


def _cli(facts: ServerFacts) -> str:
    return shlex.join([f"{facts.name.lower()}-cli", *facts.cli_options])


def cli_options(url: str) -> tuple[str, ...]:
    """The options with which `valkey-cli` reaches the server of an address, and no other one. None holds a password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return ("-s", parts.path)
    host = ("-h", parts.hostname) if parts.hostname and parts.hostname not in ("localhost", "127.0.0.1") else ()
    port = ("-p", str(parts.port)) if parts.port not in (None, 6379) else ()
    return (*host, *port, *(("--tls",) if parts.scheme == "rediss" else ()))


def _allow(facts: ServerFacts, rights: Iterable[str]) -> str:
    return f"Run `{_cli(facts)} ACL SETUSER {shlex.join([facts.user, *rights])}`."


def _set(facts: ServerFacts, name: str, value: str) -> str:
    return f"Write `{name} {value}` into its configuration file, and run `{_cli(facts)} CONFIG SET {name} {value}`."
