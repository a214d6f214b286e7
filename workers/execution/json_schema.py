"""Validates a value against a JSON Schema. The library is imported for the first answer that has a schema."""

from __future__ import annotations

from typing import Any


def schema_error(schema: Any, value: Any) -> str | None:
    """How the value violates the schema, without quoting either; None: it is valid.

    The draft is the one that the schema names, else 2020-12. An invalid schema is an error too: it is the caller's, and
    no answer could satisfy it. A schema is never fetched: without a registry the library would call any address in it.
    """
    from jsonschema import Draft202012Validator, exceptions
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    try:
        validator = validator_for(schema, default=Draft202012Validator)
        validator.check_schema(schema)
        error = exceptions.best_match(validator(schema, registry=EMPTY_REGISTRY).iter_errors(value))
    except exceptions.SchemaError as schema_fault:
        return f"the schema itself is not valid at {_json_path(schema_fault.path)}"
    except Unresolvable:
        return "the schema refers to something that is not in it"
    return None if error is None else f"{error.validator} fails at {_json_path(error.path)}"


def _json_path(path: Any) -> str:
    return "/" + "/".join(map(str, path))
