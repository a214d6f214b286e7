"""Adapts JSON schemas, for which the dialects have different rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import json_text
from openfall.workers.backends.translate.refusals import Untranslatable

_INNER = frozenset({"properties", "$defs", "definitions"})
"""These hold schemas by name. `_NESTED` hold one schema, `_CHOICES` hold lists of schemas."""
_NESTED = frozenset({"items", "additionalProperties", "not"})
_CHOICES = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_LIMITS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "maxItems", "uniqueItems", "minProperties", "maxProperties", "pattern",
    }
)  # fmt: skip
"""Keywords that Anthropic's structured outputs refuse."""


def for_anthropic(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for structured outputs: its objects are closed, and its limits move into the description.

    A value that matches it matches the caller's schema, except for the limits: the model sees them but may exceed them.
    `Untranslatable` for an object of any keys: closed, it could only be empty.
    """
    limits = {key: value for key, value in schema.items() if _is_limit(key, value)}
    result = {key: _map_inner(key, value, _closed) for key, value in schema.items() if key not in limits}
    if result.get("type") == "object":
        if not result.get("properties") and result.get("additionalProperties", True) is not False:
            raise Untranslatable("a json_schema with an object of any keys")
        result["additionalProperties"] = False
    if limits:
        description = result.get("description")
        limit = json_text(limits, "the schema")
        result["description"] = f"{description}\n\n{limit}" if isinstance(description, str) and description else limit
    return result


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's `strict` accepts it: every object is closed and requires all of its properties."""
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        names = set(properties) if isinstance(properties, Mapping) else set()
        required = schema.get("required")
        if (
            schema.get("additionalProperties") is not False
            or not isinstance(required, list)
            or not names <= _texts(required)
        ):
            return False
    return all(is_strict(inner) for inner in _schemas_in(schema))


def _texts(values: list[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _is_limit(key: str, value: Any) -> bool:
    return key in _LIMITS or (key == "minItems" and value not in (0, 1))


def _map_inner(key: str, value: Any, change: Callable[[Any], Any]) -> Any:
    """The value of a keyword, with each schema directly in it changed."""
    if key in _INNER and isinstance(value, Mapping):
        return {name: change(inner) for name, inner in value.items()}
    if key in _NESTED:
        return change(value)
    if key in _CHOICES and isinstance(value, list):
        return [change(inner) for inner in value]
    return value


def _closed(schema: Any) -> Any:
    return for_anthropic(schema) if isinstance(schema, Mapping) else schema


def _schemas_in(schema: Mapping[str, Any]) -> list[Any]:
    schemas: list[Any] = []
    for key, value in schema.items():
        _map_inner(key, value, schemas.append)
    return schemas
