"""Whether a value holds a JSON Schema. The library is loaded when the first answer has one to hold."""

from __future__ import annotations

from typing import Any


def schema_error(schema: Any, value: Any) -> str | None:
    """What of the schema the value does not hold, in words that quote none of it; None: it holds.

    A schema that is none says so too: it is the caller's, and no answer could ever hold it.
    """
    from jsonschema import Draft202012Validator, exceptions
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        error = exceptions.best_match(Draft202012Validator(schema).iter_errors(value))
    except exceptions.SchemaError as wrong:
        return f"the schema itself is not valid at {_place(wrong.path)}"
    except Unresolvable:
        return "the schema refers to something that is not in it"
    return None if error is None else f"{error.validator} fails at {_place(error.path)}"


def _place(path: Any) -> str:
    return "/" + "/".join(map(str, path))
