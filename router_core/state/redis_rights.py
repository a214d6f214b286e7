"""The rights in Redis that openfall needs: those of the commands in its scripts, and of the commands beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

from openfall.router_core.state import scripts

WORKER_SCRIPTS = (
    "claim", "settle", "beat", "reap", "sweep", "move", "fleet_snapshot", "breaker_probe_result", "append_events",
    "cancel_or_expire", "adopt_rq_job", "held_release", "memory_pressure", "outbox_claim", "outbox_settle",
    "notice_admit", "incident_close", "abandoned_jobs", "audit", "card_view", "card_write", "card_put_back",
    "card_release", "sample_depths",
)  # fmt: skip
"""The scripts that a worker loads when it starts."""

_PRODUCER_SCRIPTS = ("accept", "fleet_snapshot", "cancel_or_expire")

_PRODUCER_COMMANDS = ("EXISTS", "GET", "HGETALL", "HMGET", "HSET", "LRANGE")
_WORKER_COMMANDS = (
    "BLPOP", "DEL", "EXISTS", "EXPIRE", "GET", "HDEL", "HGETALL", "HMGET", "HSET", "LRANGE", "RPUSH", "SADD", "SET",
    "SMEMBERS", "SREM", "XRANGE", "ZCARD", "ZRANGE", "ZREM", "ZSCAN",
)  # fmt: skip
"""Those that our Python code sends."""

_PREFIXES = ("of:", "rq:")
_CHANNEL_COMMANDS = ("PUBLISH", "SUBSCRIBE")
_KEYLESS: dict[str, tuple[str, ...]] = {
    "TIME": ("TIME",), "SCAN": ("SCAN", "0"), "FCALL": ("FCALL", "x", "0"), "EVAL": ("EVAL", "return 1", "0"),
    "FUNCTION|LOAD": ("FUNCTION", "LOAD", "x"),
}  # fmt: skip
COMPLETE_RULE = ("~of:*", "~rq:*", "&of:*", "&rq:*", "+@all", "-@admin", "-@dangerous", "+info", "+config|get")
"""The rights of a worker, as docs/redis.md has them."""

_NEEDED_BY_ALL = (*_CHANNEL_COMMANDS, "TIME", "FCALL", "EVAL", "FUNCTION|LOAD")
_OPTIONAL = frozenset({"INFO"})
"""Commands without which openfall runs, but cannot check everything."""

_CALL = re.compile(r"(?:redis\.p?call|guarded_call)\(([^,)]*)")
_NAME = re.compile(r"'([A-Z]+)'")


@dataclass(frozen=True, slots=True)
class RightSample:
    """A call that its user must be allowed to make. `prefix` is that of its key or channel, empty without any."""

    command: str
    call: tuple[str, ...]
    prefix: str = ""


@cache
def producer_samples() -> tuple[RightSample, ...]:
    """The calls that a client makes to submit, wait for and cancel jobs."""
    return tuple(_samples(commands_of(*_PRODUCER_SCRIPTS) | {*_PRODUCER_COMMANDS}))


@cache
def worker_samples() -> tuple[RightSample, ...]:
    """The calls that a worker makes."""
    return tuple(_samples(commands_of(*WORKER_SCRIPTS) | {*_WORKER_COMMANDS}))


def commands_of(*names: str) -> set[str]:
    """The commands that these scripts call."""
    texts = (scripts.load(name).text.decode() for name in names)
    return {command for text in texts for call in _CALL.findall(text) for command in _NAME.findall(call)}


def _samples(commands: Collection[str]) -> Iterator[RightSample]:
    for command in sorted({*commands, *_NEEDED_BY_ALL} - _OPTIONAL):
        if command in _KEYLESS:
            yield RightSample(command, _KEYLESS[command])
            continue
        for prefix in _PREFIXES:
            name = f"{prefix}x"  # in the place of each argument: commands differ in which ones are keys
            yield RightSample(command, (command, name, name), prefix)


def missing_rights(denied: Collection[RightSample], samples: Collection[RightSample]) -> tuple[str, ...]:
    """What an ACL rule must add so that the `denied` ones of these samples are allowed."""
    keyed = {sample for sample in samples if sample.prefix and sample.command not in _CHANNEL_COMMANDS}
    if keyed <= set(denied):
        return COMPLETE_RULE
    return (*_missing_patterns(denied, samples), *_missing_commands(denied))


def _missing_patterns(denied: Collection[RightSample], samples: Collection[RightSample]) -> Iterator[str]:
    """Patterns of keys and channels: every command is denied with them."""
    for mark, are_channels in (("~", False), ("&", True)):
        for prefix in _PREFIXES:
            own = {s for s in samples if s.prefix == prefix and (s.command in _CHANNEL_COMMANDS) is are_channels}
            if own <= set(denied):
                yield f"{mark}{prefix}*"


def _missing_commands(denied: Collection[RightSample]) -> Iterator[str]:
    """Commands that are denied with every prefix."""
    prefixes: dict[str, set[str]] = {}
    for sample in denied:
        prefixes.setdefault(sample.command, set()).add(sample.prefix)
    for command, names in prefixes.items():
        if names in ({""}, set(_PREFIXES)):
            yield f"+{command.lower()}"
