"""JSON schemas, which the two dialects take in different strictness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import json_text
from openfall.workers.backends.translate.refusals import Untranslatable

_INNER = frozenset({"properties", "$defs", "definitions"})
"""Names of schemas stand under these; schemas under `_NESTED`, lists of them under `_CHOICES`."""
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
    """The schema as structured outputs take it: its objects are closed, and its limits are told in the description.

    Whatever holds it holds the caller's own but for the limits, which the model is told and may overstep.
    `CannotSay` for an object of any keys: closed, it could only be empty.
    """
    limits = {key: value for key, value in schema.items() if _is_limit(key, value)}
    told = {key: _inner(key, value) for key, value in schema.items() if key not in limits}
    if told.get("type") == "object":
        if not told.get("properties") and told.get("additionalProperties", True) is not False:
            raise Untranslatable("a json_schema with an object of any keys")
        told["additionalProperties"] = False
    if limits:
        said = told.get("description")
        limit = json_text(limits, "the schema")
        told["description"] = f"{said}\n\n{limit}" if isinstance(said, str) and said else limit
    return told


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's `strict` takes it: every object is closed and requires all that it names."""
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        named = set(properties) if isinstance(properties, Mapping) else set()
        required = schema.get("required")
        if (
            schema.get("additionalProperties") is not False
            or not isinstance(required, list)
            or not named <= _texts(required)
        ):
            return False
    return all(is_strict(inner) for inner in _schemas_in(schema))


def _texts(values: list[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _is_limit(key: str, value: Any) -> bool:
    return key in _LIMITS or (key == "minItems" and value not in (0, 1))


def _inner(key: str, value: Any) -> Any:
    if key in _INNER and isinstance(value, Mapping):
        return {name: _closed(inner) for name, inner in value.items()}
    if key in _NESTED:
        return _closed(value)
    if key in _CHOICES and isinstance(value, list):
        return [_closed(inner) for inner in value]
    return value


def _closed(schema: Any) -> Any:
    return for_anthropic(schema) if isinstance(schema, Mapping) else schema


def _schemas_in(schema: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key, value in schema.items():
        if key in _INNER and isinstance(value, Mapping):
            found += value.values()
        elif key in _NESTED:
            found.append(value)
        elif key in _CHOICES and isinstance(value, list):
            found += value
    return found
