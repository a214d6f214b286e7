"""Adapts JSON schemas, for which the dialects have different rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from openfall.workers.backends.translate.json_values import json_text
from openfall.workers.backends.translate.refusals import Untranslatable

MAX_REFERENCES = 8
"""How many `$ref` in a row are followed: a longer row is a circle."""

_INNER = frozenset({"properties", "$defs", "definitions"})
"""These hold schemas by name. `_NESTED` hold one schema, `_CHOICES` hold lists of schemas."""
_NESTED = frozenset({"items", "additionalProperties", "not"})
_CHOICES = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_LABELS = frozenset({"$schema", "$id", "$comment"})
"""Keywords that say nothing of a value."""
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
"""The formats of texts that Anthropic's structured outputs take."""
_LIMITS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "maxItems", "uniqueItems", "minProperties", "maxProperties", "pattern", "not", "if", "then", "else", "contains",
        "minContains", "maxContains", "propertyNames", "patternProperties", "dependentRequired", "dependentSchemas",
        "unevaluatedProperties", "unevaluatedItems", "contentEncoding", "contentMediaType", "examples",
    }
)  # fmt: skip
"""Keywords that Anthropic's structured outputs refuse."""


def for_anthropic(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for structured outputs: its objects are closed, and its limits move into the description.

    A value that matches it matches the caller's schema, except for the limits: the model sees them but may exceed them.
    `Untranslatable` for an object of any keys: closed, it could only be empty.
    """
    limits = {key: value for key, value in schema.items() if _is_limit(key, value)}
    kept = {key: value for key, value in schema.items() if key not in limits and key not in _LABELS}
    result = {key: _map_inner(key, value, _closed) for key, value in kept.items()}
    if "oneOf" in result and "anyOf" not in result:
        result["anyOf"] = result.pop("oneOf")
    if result.get("type") == "object":
        if not result.get("properties") and result.get("additionalProperties", True) is not False:
            raise Untranslatable("a json_schema with an object of any keys")
        result["additionalProperties"] = False
    if limits:
        description = result.get("description")
        limit = json_text(limits, "the schema")
        result["description"] = f"{description}\n\n{limit}" if isinstance(description, str) and description else limit
    return result


def object_schema(schema: Any) -> dict[str, Any]:
    """The schema of a tool's arguments with a plain object at its root. Anthropic and OpenAI refuse any other root.

    The branches of `anyOf`, `oneOf` and `allOf` become the properties of one object, and the description names what
    each branch requires. `Untranslatable` for arguments that are no object.
    """
    if not isinstance(schema, Mapping) or not schema:
        return {"type": "object", "properties": {}}
    result = _resolved(schema, schema)
    for word in ("allOf", "anyOf", "oneOf"):
        branches = result.pop(word, None)
        if isinstance(branches, list):
            result = _merge_branches(result, [_resolved(branch, schema) for branch in branches], every=word == "allOf")
    for word in ("$ref", "not", "enum", "const", "if", "then", "else"):
        result.pop(word, None)
    kinds = result.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise Untranslatable("a tool whose arguments are no object")
    if not isinstance(result.get("properties"), Mapping):
        result["properties"] = {}
    return {"type": "object", **{key: value for key, value in result.items() if key != "type"}}


def _resolved(schema: Any, root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The schema with the definition to which its `$ref` points, such as `#/$defs/Item`: a JSON pointer in
    the fragment of a URI (RFC 6901, section 6)."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/") or depth > MAX_REFERENCES:
        return dict(schema)
    target: Any = root
    for part in reference[2:].split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, Mapping) else None
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**_resolved(target, root, depth + 1), **rest}


def _merge_branches(base: dict[str, Any], branches: list[dict[str, Any]], *, every: bool) -> dict[str, Any]:
    """One object with the properties of all branches. It requires what every branch does, or with `every` what any
    does."""
    objects = [branch for branch in branches if branch.get("type") in (None, "object")]
    properties: dict[str, Any] = {}
    for fields in (*(branch.get("properties") for branch in objects), base.get("properties")):
        properties |= fields if isinstance(fields, Mapping) else {}
    required = [_texts(branch.get("required")) for branch in objects]
    common = (set().union(*required) if every else set.intersection(*required)) if required else set()
    names = [name for name in properties if name in common | _texts(base.get("required"))]
    result = {**base, "properties": properties, **({"required": names} if names else {})}
    if not every and any(fields != common for fields in required):
        choices = " or ".join(", ".join(sorted(fields)) or "nothing" for fields in required)
        described = base.get("description")
        note = f"Give one of: {choices}."
        result["description"] = f"{described}\n\n{note}" if isinstance(described, str) and described else note
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


def _texts(values: Any) -> set[str]:
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()


def _is_limit(key: str, value: Any) -> bool:
    if key == "format":
        return value not in _FORMATS
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
