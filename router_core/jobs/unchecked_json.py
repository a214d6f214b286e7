"""Readers of JSON that nothing has checked: a value of another type counts as absent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
"""An object, as a caller or a provider wrote it."""


def as_object(value: Any) -> Body:
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_objects(value: Any) -> list[Body]:
    """The objects in a list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list | tuple) else []


def as_count(value: Any) -> int:
    """A whole number above 0; else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
