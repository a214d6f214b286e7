"""JSON Schemas of single values, for editors: what may be written at a place, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = Mapping[str, Any]
"""A JSON Schema of what may stand at a place."""

FILLED_IN: Shape = {"type": "string", "pattern": r"\$\{"}
"""A value that a variable stands in: what it will be is not known to an editor."""

_BOUNDS: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum"}),
    "string": frozenset({"minLength", "maxLength"}),
    "array": frozenset({"minItems"}),
}
"""What of a rule can be said of each type of value."""


def either(*shapes: Shape) -> Shape:
    """Any of these, or a variable."""
    return {"anyOf": [*shapes, FILLED_IN]}


def any_case(*words: str) -> str:
    """A pattern for these words in capitals or not: JSON Schema's patterns have no flag for it."""
    return "^(" + "|".join("".join(f"[{letter}{letter.upper()}]" for letter in word) for word in words) + ")$"


def bounded(shape: Shape, rule: Shape) -> dict[str, Any]:
    """A shape with the bounds of a rule (a JSON Schema too), as far as they can be said of what is in the file."""
    rule = next((one for one in rule.get("anyOf", ()) if one.get("type") != "null"), rule)
    told = dict(shape)
    if "anyOf" in shape:
        told["anyOf"] = [bounded(one, rule) if one is not FILLED_IN else one for one in shape["anyOf"]]
    if isinstance(inner := shape.get("additionalProperties"), dict):
        wanted = [*rule.get("patternProperties", {}).values(), rule.get("additionalProperties")]
        told["additionalProperties"] = bounded(inner, next((one for one in wanted if isinstance(one, dict)), {}))
    known = _BOUNDS.get(shape.get("type", ""), frozenset()) if isinstance(shape.get("type"), str) else frozenset()
    return {**told, **{word: limit for word, limit in rule.items() if word in known}}
