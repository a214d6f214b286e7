"""What a caller's body is read with: each asks for one shape at one place, and says `Unreadable` when it is another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import orjson

from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unreadable(f"{place} is not an object")
    return value


def string(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{place} is not a text")
    return value


def whole(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"{place} is not a whole number")
    return value


def number(value: Any, place: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unreadable(f"{place} is not a number")
    return value


def listed(value: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of a list, each with its place. No list at all is an empty one."""
    if value is None:
        return
    if not isinstance(value, list | tuple):
        raise Unreadable(f"{place} is not a list")
    for index, entry in enumerate(value):
        yield mapping(entry, f"{place}[{index}]"), f"{place}[{index}]"


def kind(part: Mapping[str, Any], place: str) -> str:
    """The `type` of a part or block."""
    return string(part.get("type"), f"{place}.type")


def unknown(what: str, name: str) -> Untranslatable:
    """The refusal of a kind of thing; its name is told only if it looks like a name."""
    return Untranslatable(f"{what} {name if _NAME.fullmatch(name) else 'that nobody knows'}")


def json_text(value: Any, place: str) -> str:
    """A value as JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise Unreadable(f"{place} holds a number that JSON cannot carry exactly") from None


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a text of JSON is; None when it is none. An empty text is an empty object."""
    try:
        told = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def safe_id(told: str) -> str:
    """The id of a tool call as Anthropic takes it (letters, digits, `_`, `-`), the same for the same id each time."""
    if told and not _UNSAFE.search(told):
        return told
    return f"{_UNSAFE.sub('_', told)}_{crc32(told.encode()):08x}"
