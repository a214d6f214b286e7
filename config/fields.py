"""From a pydantic model to a section of the file: each described field is a key, and its annotation gives its type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from openfall.config.errors import nearest, quoted
from openfall.config.former_keys import has_former_key
from openfall.config.redis_formats import REDIS_FORMATS
from openfall.config.scalars import (
    BY_FORMAT,
    BY_TYPE,
    NAME_PATTERN,
    NAME_RULE,
    FieldType,
    Shape,
    is_name,
    one_of,
    read_word,
)
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.field_types import Format, Reference
from openfall.router_core.vocabulary import Remedy, Urgency

_FORMATS: Mapping[Format, FieldType[Any]] = {**BY_FORMAT, **REDIS_FORMATS}

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_BOUND_MESSAGES: Mapping[str, str] = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "string_too_short": "must not be empty",
    "string_too_long": "must have no more than {max_length:,} characters",
    "string_pattern_mismatch": "must be an address such as http://127.0.0.1:8080",
    "too_short": "must not be empty",
}
"""The messages for broken bounds. They do not show the value."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section: the field of the model that it sets, and the type of its value."""

    field: str
    type: FieldType[Any]
    description: str
    default: Any

    @property
    def is_required(self) -> bool:
        return self.default is PydanticUndefined and self.field != "url"  # the url follows from the protocol


@cache
def keys_of(model: type[BaseModel]) -> Mapping[str, Key]:
    """The keys of a section: the fields of its model that have a description."""
    keys = {}
    for name, info in model.model_fields.items():
        if info.description is not None:
            kind = _with_defaults(field_type(info.annotation, info.metadata), info.default)
            keys[info.serialization_alias or name] = Key(name, kind, info.description, info.default)
    return keys


def _with_defaults(kind: FieldType[Any], defaults: Any) -> FieldType[Any]:
    """The type of a mapping with known keys (the urgencies), if each has default values of its own."""
    if not isinstance(defaults, Mapping) or not all(isinstance(key, Urgency) for key in defaults) or not defaults:
        return kind
    properties = {str(key): model_shape(type(entry), entry) for key, entry in defaults.items()}
    return replace(kind, shape={"type": ["object", "null"], "additionalProperties": False, "properties": properties})


def build(model: type[M], node: Node, base: Mapping[str, Any] | None = None) -> M:
    """The entry at a node, on top of the `base` values.

    A broken bound is reported, and the entry is built without that value, so that the rest of the file can still be
    checked against it. It is never part of a catalog that is used.
    """
    keys = keys_of(model)
    read = {keys[key].field: keys[key].type.read(below) for key, below in node.fields(keys).items()}
    values = {**(base or {}), **{field: value for field, value in read.items() if value is not None}}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        key_of = {key.field: name for name, key in keys.items()}
        for fault in error.errors(include_url=False, include_input=False):
            field = str(fault["loc"][0])
            _report_fault(node, key_of.get(field, field), fault, keys)
            values.pop(field, None)
        return model.model_construct(**{**(base or {}), **values})


def _report_fault(node: Node, key: str, fault: ErrorDetails, keys: Mapping[str, Key]) -> None:
    below = node.entries().get(key)
    unknown = node.entries().keys() - keys.keys()  # reported as such, with the nearest known key
    if below is not None and fault["type"] != "missing":
        for word in fault["loc"][1:]:  # as deep as the fault
            below = below.entries().get(str(word), below) if below.is_mapping else below
        message = _BOUND_MESSAGES.get(fault["type"])
        below.report(message.format(**fault.get("ctx", {})) if message else fault["msg"])
    elif below is None and not get_close_matches(key, unknown, n=1) and not has_former_key(node.path, key, unknown):
        node.report(f"{quoted(key)} is missing", f"Add {key}: to it.")


def named_entries(node: Node | None) -> Iterator[tuple[str, Node]]:
    """The entries of a section by name. A name that cannot be one is reported and left out."""
    if node is None:
        return
    for name, entry in node.entries().items():
        if is_name(name):
            yield name, entry
        else:
            node.document.report(entry.line, node.path, f"{quoted(name)} cannot be a name", NAME_RULE)


def write_entry(entry: BaseModel) -> dict[str, Any]:
    """The mapping that reads as this entry, with every default. None and empty values are left out."""
    values = ((name, key, getattr(entry, key.field)) for name, key in keys_of(type(entry)).items())
    written = {name: key.type.write(value) for name, key, value in values if value is not None}
    return {name: value for name, value in written.items() if value is not None and value not in ([], {})}


def model_shape(model: type[BaseModel], defaults: BaseModel | None = None) -> Shape:
    """The JSON Schema of an entry. Without a required key it may be empty."""
    keys = keys_of(model)
    properties = {
        name: {"description": key.description, **key.type.shape, **_default(key, defaults)}
        for name, key in keys.items()
    }
    shape = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    required = [name for name, key in keys.items() if key.is_required and defaults is None]
    return {**shape, "type": "object", "required": required} if required else shape


def _default(key: Key, defaults: BaseModel | None) -> Shape:
    value = key.default if defaults is None else getattr(defaults, key.field)
    if value is None or value is PydanticUndefined or isinstance(value, (BaseModel, Mapping)):
        return {}
    written = key.type.write(value)
    return {} if written is None or written == [] else {"default": written}


def list_of(item: FieldType[T], *, complete: bool = False) -> FieldType[tuple[T, ...]]:
    """A list, which may be empty. `complete`: order and end matter, so that one unreadable value spoils the list."""

    def read(node: Node) -> tuple[T, ...] | None:
        nodes = node.items()
        values = tuple(value for value in map(item.read, nodes) if value is not None)
        return None if (complete and len(values) < len(nodes)) or not (values or node.is_list) else values

    shape = {"type": "array", "items": item.shape}
    return FieldType(read, shape, lambda values: [item.write(value) for value in values])


def mapping_of(item: FieldType[T]) -> FieldType[dict[str, T]]:
    """Values by any keys. One that cannot be read is left out."""

    def read(node: Node) -> dict[str, T]:
        values = {key: item.read(below) for key, below in node.entries().items()}
        return {key: value for key, value in values.items() if value is not None}

    shape = {"type": ["object", "null"], "additionalProperties": item.shape}
    return FieldType(read, shape, lambda values: {key: item.write(value) for key, value in values.items()})


def _name_of(kind: str) -> FieldType[str]:
    """The name of an entry. A known entry that could not be read gives None: its own problems are reported."""

    def read(node: Node) -> str | None:
        names = node.document.names[kind]
        value = read_word(node, kind, names.known, names.meant)
        return value if value in names.valid else None

    return FieldType(read, {"type": "string", "minLength": 1}, str)


def _names_of(kind: str) -> FieldType[tuple[str, ...]]:
    """A list of at least one name. None if none of them can be used."""
    item = _name_of(kind)

    def read(node: Node) -> tuple[str, ...] | None:
        """A name that comes from a variable may be in the list already: then it is skipped."""
        nodes = node.items()
        names: list[str] = []
        interpolated: set[str] = set()
        for below in nodes:
            name = item.read(below)
            if name is None:
                continue
            if name != below.raw.value:
                interpolated.add(name)
            if name not in names or name not in interpolated:
                names.append(name)
        if not nodes and node.is_list:
            node.report("the list is empty", f"Name at least one {kind}.")
        return tuple(names) or None

    return FieldType(read, {"type": "array", "items": item.shape, "minItems": 1}, list)


def _by_name(kind: str, value: FieldType[T]) -> FieldType[dict[str, T]]:
    """A value for each of some entries. An unknown name is reported and left out."""

    def read(node: Node) -> dict[str, T]:
        known = node.document.names[kind].known
        values = {}
        for name, below in node.entries().items():
            if name in known:
                values[name] = value.read(below)
            else:
                below.report(f"unknown {kind} {quoted(name)}", nearest(name, known))
        return {name: score for name, score in values.items() if score is not None}

    shape = {"type": ["object", "null"], "additionalProperties": value.shape}
    if "properties" in value.shape:
        shape["propertyNames"] = {"pattern": NAME_PATTERN}
    return FieldType(read, shape, lambda values: {str(name): value.write(entry) for name, entry in values.items()})


def field_type(annotation: Any, marks: Iterable[Any] = ()) -> FieldType[Any]:
    """The type of a field with this annotation and metadata."""
    marks = [mark for outer in marks for mark in (outer.metadata if isinstance(outer, FieldInfo) else (outer,))]
    kind = _own_type(annotation, marks)
    return replace(kind, shape=_bounded(kind.shape, marks))


def _own_type(annotation: Any, marks: list[Any]) -> FieldType[Any]:
    for mark in marks:
        if isinstance(mark, FieldType):
            return mark
        if isinstance(mark, Format):
            return _FORMATS[mark]
        if isinstance(mark, Reference):
            return _name_of(mark.kind)
    if get_origin(annotation) is not None:
        return _generic_type(get_origin(annotation), get_args(annotation), marks)
    if annotation in BY_TYPE:
        return BY_TYPE[annotation]
    if issubclass(annotation, BaseModel):
        return FieldType(lambda node: build(annotation, node), model_shape(annotation), write_entry)
    return one_of(annotation.__name__.removesuffix("Kind").lower(), list(annotation))


def _generic_type(origin: Any, arguments: tuple[Any, ...], marks: list[Any]) -> FieldType[Any]:
    if origin is Annotated:
        return field_type(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return field_type(next(argument for argument in arguments if argument is not NoneType), marks)
    if origin is Literal:
        return one_of("protocol", arguments)
    kind = _reference(arguments[0])
    if origin is tuple:
        return _names_of(kind) if kind else list_of(field_type(arguments[0]), complete=arguments[0] is Remedy)
    return _by_name(kind or "name", field_type(arguments[1]))


def _reference(annotation: Any) -> str | None:
    return next((mark.kind for mark in get_args(annotation) if isinstance(mark, Reference)), None)


_BOUNDS = (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum"))
_LENGTHS = (("min_length", "minLength", "minItems"), ("max_length", "maxLength", "maxItems"))


def _bounded(shape: Shape, marks: Iterable[Any]) -> Shape:
    """A shape with the bounds that these marks set, as far as they apply to the types in it."""
    bounds: dict[str, dict[str, Any]] = {"number": {}, "string": {}, "array": {}}
    for mark in marks:
        bounds["number"] |= {word: limit for name, word in _BOUNDS if (limit := getattr(mark, name, None)) is not None}
        for name, of_text, of_list in _LENGTHS:
            if (limit := getattr(mark, name, None)) is not None:
                bounds["string"][of_text] = bounds["array"][of_list] = limit
    bounds["integer"] = bounds["number"]
    if "anyOf" in shape:
        numbers = ("number", "integer")
        shapes = shape["anyOf"]
        return {"anyOf": [{**each, **bounds[each["type"]]} if each.get("type") in numbers else each for each in shapes]}
    return {**shape, **bounds.get(str(shape.get("type")), {})}
