"""Typed readers of a caller's body. Each raises `Unreadable`, with the path, for a value of another type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from openfall.workers.backends.completion_shapes import formed_arguments
from openfall.workers.backends.exact_json import dumps, loads
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

Body = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unreadable(f"{path} is not an object")
    return value


def string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{path} is not a string")
    return value


def optional_string(value: Any, path: str) -> str:
    """A string that may be missing: then it is empty."""
    return "" if value is None else string(value, path)


def whole(value: Any, path: str) -> int:
    """A whole number. Some callers write `50.0`."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"{path} is not a whole number")
    return value


def number(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unreadable(f"{path} is not a number")
    return value


def listed(value: Any, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of a list, each with its path. None is an empty list."""
    if value is None:
        return
    if not isinstance(value, list | tuple):
        raise Unreadable(f"{path} is not a list")
    for index, entry in enumerate(value):
        yield mapping(entry, f"{path}[{index}]"), f"{path}[{index}]"


def kind(part: Mapping[str, Any], path: str) -> str:
    """The `type` of a part or block."""
    return string(part.get("type"), f"{path}.type")


def unknown(what: str, name: str) -> Untranslatable:
    """The error for an unknown kind. It repeats the name only if that looks like a name."""
    return Untranslatable(f"{what} {name if _NAME.fullmatch(name) else 'of an unknown name'}")


def json_text(value: Any, path: str) -> str:
    """A value as JSON."""
    try:
        return dumps(value).decode()
    except TypeError:
        raise Unreadable(f"{path} holds a value that JSON cannot carry") from None


def json_object(text: str) -> dict[str, Any] | None:
    """The object in the text of the arguments of a call; None if it is none. An empty text is an empty object."""
    try:
        value = loads(formed_arguments(text))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def objects(values: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a list. There is none in a value of another type."""
    return (value for value in (values if isinstance(values, list | tuple) else ()) if isinstance(value, Mapping))


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """The string under that name; empty if it is missing or not a string."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def safe_id(call_id: str) -> str:
    """The id of a tool call with Anthropic's characters only (letters, digits, `_`, `-`), the same for the same id."""
    if not _UNSAFE.search(call_id):
        return call_id
    return f"{_UNSAFE.sub('_', call_id)}_{crc32(call_id.encode('utf-8', 'surrogatepass')):08x}"


def text_or_blocks(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A single plain text needs no list of blocks."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks
