"""Values that another program could have written in place of ours: for a whole key, or for one part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import redis

GARBAGE = b"\xff\xfe\x00garbage\x9f"
TEXTS: dict[str, bytes] = {
    "random bytes": GARBAGE,
    "empty": b"",
    "a word": b"zzz",
    "JSON of another shape": b'[1,{"a":null}]',
    "an object of another shape": b'{"at":"then","ok":[],"models":7,"v":2}',
    "nan": b"nan",
    "infinity": b"inf",
    "negative": b"-7",
    "out of range": b"99999999999999999999",
    "huge": b"9" * 100_000,
}
"""What stands in place of a text."""


def other_type(store: redis.Redis, key: bytes) -> None:
    """Replace a key by one of another type."""
    is_string = store.type(key) == b"string"
    store.delete(key)
    if is_string:
        store.rpush(key, GARBAGE)
    else:
        store.set(key, GARBAGE)


def parts(store: redis.Redis, key: bytes) -> list[bytes]:
    """The fields, members or positions of a key that can be replaced one by one."""
    kind = store.type(key)
    if kind == b"hash":
        return sorted(store.hkeys(key))
    if kind == b"zset":
        return store.zrange(key, 0, 3)
    if kind == b"list":
        return [b"%d" % n for n in range(min(3, store.llen(key)))]
    return [b""]


def replace_part(store: redis.Redis, key: bytes, part: bytes, text: bytes) -> None:
    """Replace one part of a key by a text; a member of a zset also by one with that score, if it is a number."""
    kind = store.type(key)
    if kind == b"hash":
        store.hset(key, part, text)
    elif kind == b"zset":
        try:
            store.zadd(key, {part: float(text)})
        except (ValueError, redis.ResponseError):
            score = store.zscore(key, part) or 0.0
            store.zrem(key, part)
            store.zadd(key, {text: score})
    elif kind == b"list":
        store.lset(key, int(part), text)
    elif kind == b"set":
        store.spop(key)
        store.sadd(key, text)
    elif kind == b"stream":
        store.xadd(key, {text or b"-": text})
    else:
        store.set(key, text, keepttl=True)


def truncate(store: redis.Redis, key: bytes, part: bytes) -> None:
    """Cut off the second half of a text, or remove a part of anything else."""
    kind = store.type(key)
    if kind == b"string":
        text = store.get(key)
        store.set(key, text[: len(text) // 2], keepttl=True)
    elif kind == b"hash":
        text = store.hget(key, part)
        store.hset(key, part, text[: len(text) // 2])
    elif kind == b"zset":
        store.zrem(key, part)
    elif kind == b"list":
        store.ltrim(key, 1, -1)
    elif kind == b"stream":
        store.xtrim(key, maxlen=0, approximate=False)
    else:
        store.spop(key)


def remove_part(store: redis.Redis, key: bytes, part: bytes) -> None:
    """Remove a field; of any other kind, all of it."""
    if store.type(key) == b"hash":
        store.hdel(key, part)
    else:
        store.delete(key)


def damages(store: redis.Redis, key: bytes, part: bytes) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of each damage to a part of a key, and what does it."""
    yield "another type", partial(other_type, store, key)
    yield "truncated", partial(truncate, store, key, part)
    yield "removed", partial(remove_part, store, key, part)
    for name, text in TEXTS.items():
        yield name, partial(replace_part, store, key, part, text)
