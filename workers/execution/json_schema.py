"""Validates a value against a JSON Schema. The library is imported by a worker whose answers may need it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any

MAX_ERRORS = 100
"""The violations among which the best one is looked for: a long list may have one for each of its items."""

MAX_KEPT_LENGTH = 32_768
"""The length of the longest schema, as JSON, of which is kept that it is valid."""


def import_library() -> None:
    """Import what `schema_error` needs: 0.15 s, which are no part of a check, and memory, which a worker that is short
    of it later no longer gets."""
    import jsonschema  # noqa: F401


def schema_error(schema: Any, value: Any) -> str | None:
    """How the value violates the schema, without quoting either; None: it is valid.

    The draft is the one that the schema names, else 2020-12. An invalid schema is an error too: it is the caller's, and
    no answer could satisfy it. A schema is never fetched: without a registry the library would call any address in it.
    A pattern that Python cannot read (`\\p{L}`) is not checked: neither a `pattern`, nor the fields that one of
    `patternProperties` names, nor that there are no further fields beside it.
    """
    from jsonschema import Draft202012Validator, exceptions
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    if not isinstance(schema, dict | bool):
        return "the schema itself is not valid at /"
    if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
        return "the schema itself is not valid at /$schema"
    try:
        draft: Any = validator_for(schema, default=Draft202012Validator)
        _check_schema(draft, schema)
        validator = _bounded(draft)(schema, registry=EMPTY_REGISTRY)
        error = exceptions.best_match(islice(validator.iter_errors(value), MAX_ERRORS))
    except exceptions.SchemaError as schema_fault:
        return f"the schema itself is not valid at {_json_path(schema_fault.path)}"
    except Unresolvable:
        return "the schema refers to something that is not in it"
    except RecursionError:
        return "the schema refers to itself without end, or is too deep"
    except Exception as fault:  # noqa: BLE001 - a `$ref` may lead to what is no schema: then a keyword can raise anything
        return f"the schema cannot be applied to the answer: {type(fault).__name__}"
    return None if error is None else f"{error.validator} fails at {_json_path(error.path)}"


def _check_schema(draft: Any, schema: Any) -> None:
    """Raise `SchemaError` for an invalid schema. That takes ten times as long as to validate a value, and the tools of
    an agent have the same schemas in each of its turns: those that are valid are kept."""
    text = json.dumps(schema)
    (_check_text if len(text) <= MAX_KEPT_LENGTH else _check_text.__wrapped__)(draft, text)


@lru_cache(256)
def _check_text(draft: Any, text: str) -> None:
    draft.check_schema(json.loads(text), format_checker=None)


@lru_cache
def _bounded(draft: Any) -> Any:
    """The validator of a draft with the keywords of this module. To make the class takes as long as to validate."""
    from jsonschema.validators import extend

    keywords = {"pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique_items}
    for name in {"additionalProperties", "unevaluatedProperties"} & draft.VALIDATORS.keys():
        keywords[name] = _unless_unreadable(draft.VALIDATORS[name])
    return extend(draft, keywords)  # type: ignore[no-untyped-call]


def _json_path(path: Any) -> str:
    return "/" + "/".join(map(str, path))


def _pattern(_validator: object, pattern: str, text: object, _schema: object) -> Iterator[Any]:
    """The keyword `pattern`. The library raises for the words of other languages, such as `\\p{L}`."""
    from jsonschema.exceptions import ValidationError

    if isinstance(text, str) and _is_found(pattern, text) is False:
        yield ValidationError("the pattern is not found")


def _pattern_properties(validator: Any, patterns: Any, value: Any, _schema: object) -> Iterator[Any]:
    """The keyword `patternProperties`, without the patterns that Python cannot read."""
    for pattern, schema in patterns.items() if isinstance(value, dict) else ():
        for name in value:
            if _is_found(pattern, name):
                yield from validator.descend(value[name], schema, path=name, schema_path=pattern)


def _is_found(pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in a text; None: Python cannot read the pattern."""
    with suppress(re.error, OverflowError, RecursionError):
        return re.search(pattern, text) is not None
    return None


def _unless_unreadable(keyword: Any) -> Any:
    """The keyword of the library for further fields. It passes beside a pattern of fields that Python cannot read."""

    def check(validator: Any, further: Any, value: Any, schema: Any) -> Iterator[Any]:
        if all(_is_found(pattern, "") is not None for pattern in schema.get("patternProperties", ())):
            with suppress(re.error):  # of a pattern in `allOf`, which `unevaluatedProperties` reads too
                yield from keyword(validator, further, value, schema)

    return check


def _unique_items(_validator: object, is_unique: Any, items: Any, _schema: object) -> Iterator[Any]:
    """The keyword `uniqueItems`. That of the library compares each item with each other one: 3,000 objects take 8 s."""
    from jsonschema.exceptions import ValidationError

    if is_unique is True and isinstance(items, list):
        texts = [json.dumps(_comparable(item), sort_keys=True) for item in items]
        if len(set(texts)) < len(texts):
            yield ValidationError("two items are equal")


def _comparable(item: Any) -> Any:
    """An item in which equal numbers have one form: 1.0 is 1."""
    if isinstance(item, float) and item.is_integer():
        return int(item)
    if isinstance(item, dict):
        return {name: _comparable(value) for name, value in item.items()}
    return [_comparable(each) for each in item] if isinstance(item, list) else item
