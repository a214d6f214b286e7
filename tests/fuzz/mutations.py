"""Changes JSON values, streams and bytes at random. The same generator gives the same changes."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**70, -(2**63) - 1, 1e308, "", " ", "x", "{", "null", "\ud83d", "\u2028",
    "\x00\x1b[2J",
    "é" * 50, "[DONE]", [], [None], [[]], [{}], ["x"], {}, {"type": 3}, {"type": "text", "text": "y"}, {"error": {}},
    {"error": None}, "stop", "tool_use",
)  # fmt: skip
_BYTES = (
    b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\n\n", b":\n", b": keepalive\n\n", b"event: x\n", b"data:", b"data: \n\n",
    b"data: [DONE]\n\n", b"id: 1\n", b"retry: 5\n", b"\x00", b"\xff", b"\xe2\x80\xa8", b'"', b"{", b"}", b"[" * 300,
    b"NaN", b"9" * 400, b"\\ud83d", b"<html>",
)  # fmt: skip
_LINE_ENDS = ("\n", "\r\n", "\n", "\r")


def mutate(random: random.Random, value: Any, most: int = 3) -> Any:
    """A copy of a JSON value with up to `most` changes."""
    value = deepcopy(value)
    for _ in range(random.randint(1, most)):
        value = _change(random, value)
    return value


def _change(random: random.Random, value: Any) -> Any:
    """Change one part: the deeper, the likelier."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or random.random() < 0.05:
        return deepcopy(random.choice(ODD))
    key = random.choice(keys)
    if isinstance(value[key], dict | list) and random.random() < 0.7:
        value[key] = _change(random, value[key])
        return value
    return _change_entry(random, value, key, keys)


def _change_entry(random: random.Random, value: Any, key: Any, keys: list[Any]) -> Any:
    match random.randrange(6):
        case 0:
            del value[key]
        case 1:
            value[key] = deepcopy(value[random.choice(keys)])
        case 2 if isinstance(value, list):
            value.insert(key, deepcopy(value[random.choice(keys)]))
        case 3:
            if isinstance(value, list):
                random.shuffle(value)
            else:
                return dict(random.sample(list(value.items()), len(value)))
        case 4 if isinstance(value, dict):
            value[random.choice(("type", "error", "text", "id", "index", "x_unknown"))] = deepcopy(random.choice(ODD))
        case _:
            value[key] = deepcopy(random.choice(ODD))
    return value


def mutate_bytes(random: random.Random, data: bytes) -> bytes:
    """The bytes with one part cut out, repeated, replaced, or something inserted."""
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((1, 2, 5, 20, 100)))
    match random.randrange(5):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:end] + data[start:]
        case 3:
            return data[:start] + random.randbytes(end - start) + data[end:]
    return data[:start] + random.choice(_BYTES) + data[start:]


def pack(random: random.Random, value: Any) -> bytes:
    """A value as JSON, in one of the forms in which servers write it."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5, indent=random.choice((None, None, 1)))
    return text.encode("utf-8", "surrogatepass")


def pack_events(random: random.Random, events: list[Any], named: float) -> bytes:
    """Events as a server-sent stream, with the freedoms that the format leaves. `named`: the share with a name."""
    end = random.choice(_LINE_ENDS)
    space, several = random.choice((" ", " ", "")), random.random() < 0.1
    lines: list[str] = []
    for event in events:
        text = event if event == "[DONE]" else json.dumps(event, ensure_ascii=several)
        if isinstance(event, dict) and random.random() < named:
            lines.append(f"event:{space}{event.get('type')}")
        if random.random() < 0.05:
            lines.append(random.choice((": ping", "id: 7", "retry: 100", "x-other: 1")))
        if several and isinstance(event, dict):
            lines += [f"data:{space}{line}" for line in json.dumps(event, indent=1).split("\n")]
        else:
            lines.append(f"data:{space}{text}")
        lines.append("")
    return (end.join(lines) + end).encode("utf-8", "surrogatepass")  # SDKs ignore an event without its empty line


def pack_lines(random: random.Random, events: list[Any]) -> bytes:
    end = random.choice(("\n", "\r\n", "\n\n"))
    return end.join(json.dumps(event) for event in events).encode() + random.choice((end.encode(), b""))
