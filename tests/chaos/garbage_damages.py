"""How the scenario `garbage` damages a key of Redis."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import redis

HUGE_BYTES = 2**20
NUMBERS: tuple[float, ...] = (-1, 0, 10**30, 2**63, 1e308, -1e300, 0.5)
SCORES = (float("inf"), float("-inf"), 1e308, -1e300, 0.0)
COPY = b"copy-of-a-damaged-key"
"""A key is rewritten in a copy, which takes its place in one step: the key itself may expire meanwhile."""
_WORD = re.compile(r"[a-z_]{2,40}")


def damage_key(store: redis.Redis, key: bytes, damage: str, rng: random.Random) -> None:
    """Replace a key in one of the ways of `DAMAGES`. Its time to live stays, unless its type changes."""
    kind = store.type(key)
    if damage == "gone":
        store.delete(key)
    elif damage == "another type" or kind == b"none":
        _write_other_type(store, key, rng)
    elif damage == "foreign entries":
        FOREIGN[kind](store, key, rng.randbytes(20))
    elif store.copy(key, COPY, replace=True):
        _rewrite(store, damage, rng)
        store.rename(COPY, key)
    else:  # it has expired since its type was read
        _write_other_type(store, key, rng)


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


def _rewrite(store: redis.Redis, damage: str, rng: random.Random) -> None:
    """Change each value of the copy, and keep its type, its fields, its scores, its order and its time to live. Only
    the first value becomes huge."""
    kind, ttl, changed = store.type(COPY), store.pttl(COPY), 0
    store.persist(COPY)

    def change_one(value: bytes) -> bytes:
        nonlocal changed
        changed += 1
        return value if damage == "huge" and changed > 1 else REWRITES[damage](value, rng)

    BY_TYPE[kind](store, COPY, change_one)
    if damage == "absurd numbers" and kind == b"zset":
        store.zadd(COPY, {member: rng.choice(SCORES) for member in store.zrange(COPY, 0, -1)})
    if ttl > 0:
        store.pexpire(COPY, ttl)


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


def _append_foreign_entry(store: redis.Redis, key: bytes, value: bytes) -> None:
    """A newest entry of a stream, as the clock of the server counts."""
    store.xadd(key, {b"other": value})


FOREIGN: Mapping[bytes, Callable[[redis.Redis, bytes, bytes], object]] = {
    b"string": lambda store, key, value: store.append(key, value),
    b"hash": lambda store, key, value: store.hset(key, value, value),
    b"list": lambda store, key, value: (store.rpush(key, value), store.lpush(key, value)),
    b"set": lambda store, key, value: store.sadd(key, value, b"", b"a b"),
    b"zset": lambda store, key, value: store.zadd(key, {value: 0, b"": 1, b"a b": float("inf")}),
    b"stream": _append_foreign_entry,
}


def _rewrite_json(value: bytes, change: Callable[[Any], Any]) -> bytes:
    """Change each number and text within a JSON value, or a text that is no JSON."""

    def visit(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: visit(each) for name, each in item.items()} | {"of_a_newer_version": {"a": [1]}}
        return [visit(each) for each in item] if isinstance(item, list) else change(item)

    first, _, rest = value.partition(b"\n")  # a job has its body in a line of its own
    try:
        return json.dumps(visit(json.loads(first))).encode() + (b"\n" + rest if rest else b"")
    except ValueError:
        changed = change(value.decode(errors="replace"))
        return changed.encode() if isinstance(changed, str) else str(changed).encode()


def make_huge(value: bytes, _: random.Random) -> bytes:
    return value + b"a" * HUGE_BYTES


def _as_other_kind(item: Any) -> Any:
    return 7 if isinstance(item, str) else "text" if isinstance(item, int | float) else {}


def _as_newer_word(item: Any) -> Any:
    return f"{item}_of_a_newer_version" if isinstance(item, str) and _WORD.fullmatch(item) else item


def _as_absurd_number(item: Any, rng: random.Random) -> Any:
    return rng.choice(NUMBERS) if isinstance(item, int | float) and not isinstance(item, bool) else item


REWRITES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "garbage": lambda _, rng: rng.randbytes(20),
    "truncated": lambda value, _: value[: len(value) // 2],
    "empty": lambda _value, _: b"",
    "other kinds": lambda value, _: _rewrite_json(value, _as_other_kind),
    "newer words": lambda value, _: _rewrite_json(value, _as_newer_word),
    "absurd numbers": lambda value, rng: _rewrite_json(value, lambda item: _as_absurd_number(item, rng)),
    "huge": make_huge,
}
DAMAGES = (
    "garbage", "another type", "truncated", "empty", "other kinds", "newer words", "absurd numbers", "foreign entries",
    "huge", "gone",
)  # fmt: skip
