"""Single values of a file: how each is read, dumped, and described to editors.

Reading reports a problem at the node, and then gives None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import SecretStr

from openfall.config.durations_and_sizes import (
    DURATION,
    NUMBER,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_number,
    parse_rate,
    parse_share,
    parse_size,
    parse_tokens,
)
from openfall.config.errors import nearest, quoted
from openfall.config.former_keys import REMEDIES
from openfall.config.interpolation import InterpolationError, interpolate, variables_in
from openfall.config.redact import MASK, redact_key, redact_value
from openfall.config.yaml_document import NULL, TEXT, Node
from openfall.router_core.catalog.field_types import Format, Name
from openfall.router_core.catalog.urgency_policy import Cloud

T = TypeVar("T")
Shape = Mapping[str, Any]
"""A JSON Schema of a value."""

VARIABLE: Shape = {"type": "string", "pattern": r"\$\{"}
"""A value with a variable in it: an editor does not know what it will be."""

NAME_PATTERN = str(get_args(Name)[1].pattern)
_NAME = re.compile(NAME_PATTERN)
NAME_RULE = "A name has small letters, digits, - and _, begins with a letter or digit, and has at most 63 of them."

_WHOLE = re.compile(r"-?\d(?:_?\d){0,14}", re.ASCII)
_FLAGS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_TRAPS = {
    "bool": "one of the words that YAML reads as true or false",
    "int": "a number in YAML",
    "float": "a number in YAML",
    "timestamp": "a date in YAML",
}


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, eq=False)
class FieldType(Generic[T]):
    """How a value is read from a node, what may be written there, and how it is dumped. `read` reads a dump back."""

    read: Callable[[Node], T | None]
    shape: Shape
    write: Callable[[Any], Any] = _unchanged


def read_scalar(node: Node) -> str | None:
    """A single value as it is written, with its variables filled in."""
    if not isinstance(node.raw, yaml.ScalarNode):
        kind = "mapping" if isinstance(node.raw, yaml.MappingNode) else "list"
        node.report(f"must be a single value, not a {kind}")
        return None
    if node.raw.tag == NULL:
        node.report("nothing stands here", "Write a value, or remove the key.")
        return None
    node.document.used.update(dict.fromkeys(variables_in(node.raw.value)))
    try:
        return interpolate(node.raw.value, node.document.environ)
    except InterpolationError as error:
        node.report(str(error), error.remedy)
        return None


def read_text(node: Node) -> str | None:
    """Text. A bare word that YAML 1.1 reads as something else (`no`, `on`, `1:30`) is refused."""
    return _refuse_trap(node, quoted(node.raw.value) if isinstance(node.raw, yaml.ScalarNode) else "")


def read_secret(node: Node) -> str | None:
    """Text that no message shows."""
    return _refuse_masked(node, _refuse_trap(node, "what stands here"))


def _read_key(node: Node) -> SecretStr | None:
    value = read_secret(node)
    return None if value is None else SecretStr(value)


def _refuse_masked(node: Node, value: str | None) -> str | None:
    """A secret as `config show` prints it is no secret: with it every call would be refused."""
    if value is None or MASK not in value:
        return value
    node.report("it is masked, as `openfall config show` prints it", "Write the secret itself, or ${VARIABLE}.")
    return None


def _refuse_trap(node: Node, shown: str) -> str | None:
    value = read_scalar(node)
    trap = _TRAPS.get(node.raw.tag.rpartition(":")[2]) if node.raw.tag != TEXT else None
    if value is None or trap is None:
        return value
    node.report(f"must be text, but {shown} without quotes is {trap}", "Put it in quotes.")
    return None


def is_name(word: str) -> bool:
    """Whether a word can name an entry."""
    return _NAME.fullmatch(word) is not None


def _read_name(node: Node) -> str | None:
    value = read_text(node)
    if value is None or is_name(value):
        return value
    node.report(f"{quoted(node.raw.value)} cannot be a name", NAME_RULE)
    return None


def _has_port(parts: SplitResult) -> bool:
    """Whether the port of an address is one, or none is written."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _read_url(node: Node) -> str | None:
    value = _refuse_masked(node, read_text(node))
    if value is None:
        return None
    if "@" in value.partition("?")[0]:
        node.report("an address must not carry a user or password", "Write the credential as api_key: of the backend.")
        return None
    value = value.strip()
    try:
        scheme = urlsplit(value).scheme
        value = scheme + value[len(scheme) :]
        parts = urlsplit(value)
        if not _has_port(parts):
            node.report("the port must be a number from 1 to 65535, such as 8080")
            return None
        is_pasted = parts.hostname in ("http", "https") or any(sign in (parts.hostname or "") for sign in "{}<>$")
    except ValueError:
        is_pasted = True
    if is_pasted:  # twice, or with a placeholder for the host
        node.report("must be an address such as http://127.0.0.1:8080")
        return None
    return value


def escape(text: str) -> str:
    """Text as a file has it: a `$` is doubled, so that nothing is filled in."""
    return text.replace("$", "$$")


def _parsed(parse: Callable[[str], T | None], wanted: str) -> Callable[[Node], T | None]:
    """A reader by a parser. Messages show what the file has, not the value of a variable."""

    def read(node: Node) -> T | None:
        text = read_scalar(node)
        if text is None:
            return None
        value = parse(text.strip())
        if value is None:
            node.report(f"must be {wanted}, not {quoted(node.raw.value)}")
        return value

    return read


def text_reader(parse: Callable[[str], T | None], wanted: str, remedy: str) -> Callable[[Node], T | None]:
    """A reader of text that is no secret, by a parser."""

    def read(node: Node) -> T | None:
        text = read_text(node)
        value = None if text is None else parse(text)
        if text is not None and value is None:
            node.report(f"must be {wanted}, not {quoted(text)}", remedy)
        return value

    return read


def _read_tokens(node: Node) -> int | None:
    """A number of tokens. A size in bytes is refused: `32kB` of context can mean 32,000 tokens, or fewer."""
    text = read_scalar(node)
    tokens = None if text is None else parse_tokens(text.strip())
    if text is None or tokens is not None:
        return tokens
    in_bytes = parse_size(text.strip()) is not None
    remedy = "Tokens are not counted in bytes: write it without the b." if in_bytes else ""
    node.report(f"must be a number of tokens such as 4096 or 32k, not {quoted(node.raw.value)}", remedy)
    return None


def either(*shapes: Shape) -> Shape:
    return {"anyOf": [*shapes, VARIABLE]}


def pattern_shape(pattern: str) -> Shape:
    return {"type": "string", "pattern": pattern}


def _any_case(words: Iterable[str]) -> str:
    """A pattern for these words, in capitals or not: JSON Schema has no flag for it."""
    return "^(" + "|".join("".join(f"[{letter}{letter.upper()}]" for letter in word) for word in words) + ")$"


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _cloud(text: str) -> str | None:
    flag = _FLAGS.get(text.lower())
    return text if text == Cloud.WHEN_LATE else None if flag is None else "yes" if flag else "no"


_TEXT: FieldType[str] = FieldType(read_text, {"type": "string"}, escape)
_FLAG_SHAPES = ({"type": "boolean"}, {"enum": sorted(_FLAGS)}, pattern_shape(_any_case(_FLAGS)))

BY_TYPE: Mapping[Any, FieldType[Any]] = {
    str: _TEXT,
    bool: FieldType(_parsed(lambda text: _FLAGS.get(text.lower()), "yes or no"), either(*_FLAG_SHAPES)),
    int: FieldType(
        _parsed(_whole, "a whole number such as 4"), either({"type": "integer"}, pattern_shape(f"^{_WHOLE.pattern}$"))
    ),
    float: FieldType(
        _parsed(parse_number, "a number such as 0.5"),
        either({"type": "number"}, pattern_shape(f"^-?{NUMBER}$")),
    ),
    SecretStr: FieldType(_read_key, {"type": "string"}, lambda key: escape(redact_key(key.get_secret_value())) or None),
    Cloud: FieldType(
        _parsed(_cloud, f"yes, no or {Cloud.WHEN_LATE}"), either({"enum": [str(Cloud.WHEN_LATE)]}, *_FLAG_SHAPES), str
    ),
}

BY_FORMAT: Mapping[Format, FieldType[Any]] = {
    Format.NAME: FieldType(_read_name, {"type": "string"}),
    Format.LITERAL: FieldType(read_scalar, {"type": "string"}, escape),
    Format.URL: FieldType(_read_url, pattern_shape(r"^https?://|\$\{"), lambda url: escape(redact_value(url))),
    Format.DURATION: FieldType(
        _parsed(parse_duration, "a duration such as 500ms, 5s, 2m, 24h or 7d"),
        either({"type": "number", "minimum": 0}, pattern_shape(f"^({DURATION})$")),
        format_duration,
    ),
    Format.TOKENS: FieldType(
        _read_tokens, either({"type": "integer", "minimum": 0}, pattern_shape(f"^{NUMBER} ?([kKmMgG][iI]?)?$"))
    ),
    Format.SHARE: FieldType(
        _parsed(parse_share, "a share such as 0.5 or 50%"),
        either({"type": "number"}, pattern_shape(r"^([01](\.\d+)?|(\d{1,2}(\.\d+)?|100) ?%)$")),
    ),
}

size_in_bytes: FieldType[int] = FieldType(
    _parsed(parse_size, "a size such as 4096, 32k or 4MiB"),
    either({"type": "integer", "minimum": 0}, pattern_shape(f"^{NUMBER} ?([kKmMgG][iI]?)?[bB]?$")),
    format_size,
)
"""A size that is dumped in binary units: `4MiB`."""

rate: FieldType[tuple[int, float]] = FieldType(
    _parsed(parse_rate, "a rate such as 1 per 10m"),
    either(pattern_shape(r"^\d+ per .+$")),
    format_rate,
)
"""A number of events in a number of seconds: `1 per 10m`."""


def one_of(kind: str, words: Collection[str]) -> FieldType[str]:
    return FieldType(lambda node: read_word(node, kind, words), either({"enum": [str(word) for word in words]}), str)


def read_word(
    node: Node, kind: str, words: Collection[str], meant: Callable[[str], Iterable[str]] = lambda word: ()
) -> str | None:
    """One of these words. Any other is reported with what was `meant`, else with the nearest."""
    value = read_text(node)
    if value is None or value in words:
        return value
    renamed = REMEDIES.get(value) if kind == "remedy" else None
    remedy = f"{value} is now {renamed}." if renamed else nearest(value, words, meant(value))
    node.report(f"unknown {kind} {quoted(node.raw.value)}", remedy)
    return None
