"""The keys that the scenario `garbage` damages, every row of the tables in docs/redis.md, and how it damages one."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import redis

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"

NOT_DAMAGED: Mapping[str, str] = {
    "of:job-changed:{id}": "a channel",
    "rq:pubsub:{worker}": "a channel",
    "of:unreadable": "the list of damages: the judge reads it",
    "of:set-aside:{key}": "what was damaged before, and nothing reads it",
    "rq:suspended": "any value of it suspends every worker: that is what rq means by it",
}
"""Why the drill leaves these keys as they are."""

TRANSIENT: Mapping[str, str] = {
    "of:caller-leases": "of:caller-leases",
    "of:credits:{pool}": "of:credits:gpu",
    "of:held-later": "of:held-later",
    "of:job-counts-at:{day or month}": f"of:job-counts-at:{time.strftime('%Y-%m-%d', time.gmtime())}",
    "of:load-errors": "of:load-errors",
    "of:limits:{backend}": "of:limits:limited",
    "of:memory-pressure": "of:memory-pressure",
    "of:memory-pressure-since": "of:memory-pressure-since",
    "of:released:{model}": "of:released:dead",
    "of:release-window": "of:release-window",
    "of:rq-jobs": "of:rq-jobs",
    "of:rq-job-queues": "of:rq-job-queues",
    "of:suspects:{pool}": "of:suspects:gpu",
    "of:unmet-demand:{model}": "of:unmet-demand:beta",
    "of:wakeup:{queue}": "of:wakeup:gpu.good.interactive",
    "of:model-use:{model}": "of:model-use:alpha",
    "of:depths:hour": "of:depths:hour",
    "of:depths:day": "of:depths:day",
    "of:refused:{day}": f"of:refused:{time.strftime('%Y-%m-%d', time.gmtime())}",
    "of:card-orders:{card}": "of:card-orders:tower",
    "of:scheduled:{pool}": "of:scheduled:gpu",
    "rq:scheduled:{queue}": "rq:scheduled:gpu.good.batch",
}
"""Keys that exist for moments only: garbage is written under such a name whether it exists or not."""


@dataclass(frozen=True)
class KeyPattern:
    """A key of the tables: its `name` as it is written there, such as `of:job:{id}`."""

    name: str

    def matches(self, key: str) -> bool:
        return self._expression.fullmatch(key) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\{.*?\\}", ".*", re.escape(self.name)), re.DOTALL)

    @property
    def literal_length(self) -> int:
        return len(re.sub(r"\{.*?\}", "", self.name))


def documented_keys(page: str) -> list[KeyPattern]:
    """The keys in the first column of the tables of docs/redis.md."""
    names: dict[str, None] = {}
    for line in page.splitlines():
        if line.startswith(("| `of:", "| `rq:")):
            cell = re.findall(r"`((?:of|rq):[^`]*)`", line.split("|")[1])
            names |= {name + "{queue}" if name.endswith(":") else name: None for name in cell}
    return [KeyPattern(name) for name in names]


def damage_rows(page: str) -> dict[str, str]:
    """By key the last column of the table `What damage to each key costs`: whether its damage is noted."""
    _, _, section = page.partition("### What damage to each key costs")
    rows = [line.split(" | ") for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {name: row[-1].removesuffix(" |") for row in rows for name in re.findall(r"`([^`]*)`", row[0])}


def not_noted_keys(page: str) -> set[str]:
    """The keys for which that table gives a reason why garbage in them may leave no note."""
    return {name for name, noted in damage_rows(page).items() if noted.startswith("no:")}


def sort_keys(keys: Iterable[bytes], patterns: Iterable[KeyPattern]) -> dict[str, list[bytes]]:
    """The keys of each pattern, by its name; under the empty name those that no pattern describes."""
    by_length = sorted(patterns, key=lambda pattern: -pattern.literal_length)
    sorted_keys: dict[str, list[bytes]] = {}
    for key in sorted(keys):
        text = key.decode(errors="replace")
        name = next((pattern.name for pattern in by_length if pattern.matches(text)), "")
        sorted_keys.setdefault(name, []).append(key)
    return sorted_keys


def damage_key(store: redis.Redis, key: bytes, damage: str, rng: random.Random) -> None:
    """Replace a key in one of the ways of `DAMAGES`. Its time to live stays, unless its type changes."""
    if damage == "another type" or not store.exists(key):
        _write_other_type(store, key, rng)
    else:
        _rewrite(store, key, REWRITES[damage], rng)


def _write_other_type(store: redis.Redis, key: bytes, rng: random.Random) -> None:
    types: dict[bytes, Callable[[], object]] = {
        b"string": lambda: store.set(key, rng.randbytes(20)),
        b"list": lambda: store.rpush(key, rng.randbytes(20)),
        b"hash": lambda: store.hset(key, rng.randbytes(8), rng.randbytes(20)),
    }
    types.pop(store.type(key), None)
    store.delete(key)
    rng.choice(list(types.values()))()


Change = Callable[[bytes], bytes]


def _rewrite(
    store: redis.Redis, key: bytes, change: Callable[[bytes, random.Random], bytes], rng: random.Random
) -> None:
    """Change each value of a key, and keep its type, its fields, its scores, its order and its time to live."""
    ttl = store.pttl(key)
    BY_TYPE[store.type(key)](store, key, lambda value: change(value, rng))
    if ttl > 0:
        store.pexpire(key, ttl)


def _rewrite_hash(store: redis.Redis, key: bytes, change: Change) -> None:
    store.hset(key, mapping={field: change(value) for field, value in store.hgetall(key).items()})


def _rewrite_list(store: redis.Redis, key: bytes, change: Change) -> None:
    values = store.lrange(key, 0, -1)
    store.delete(key)
    store.rpush(key, *map(change, values))


def _rewrite_set(store: redis.Redis, key: bytes, change: Change) -> None:
    members = store.smembers(key)
    store.delete(key)
    store.sadd(key, *map(change, members))


def _rewrite_zset(store: redis.Redis, key: bytes, change: Change) -> None:
    members = store.zrange(key, 0, -1, withscores=True)
    store.delete(key)
    store.zadd(key, {change(member): score for member, score in members})


def _rewrite_stream(store: redis.Redis, key: bytes, change: Change) -> None:
    """The entries get new ids: those of a stream only grow."""
    entries = store.xrange(key)
    store.xtrim(key, maxlen=0, approximate=False)
    for _, values in entries:
        store.xadd(key, {field: change(value) for field, value in values.items()})


BY_TYPE: Mapping[bytes, Callable[[redis.Redis, bytes, Change], object]] = {
    b"string": lambda store, key, change: store.set(key, change(store.get(key) or b"")),
    b"hash": _rewrite_hash, b"list": _rewrite_list, b"set": _rewrite_set, b"zset": _rewrite_zset,
    b"stream": _rewrite_stream,
}  # fmt: skip
REWRITES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "garbage": lambda _, rng: rng.randbytes(20),
    "truncated": lambda value, _: value[: len(value) // 2],
    "empty": lambda _value, _: b"",
}
DAMAGES = ("garbage", "another type", "truncated", "empty")
