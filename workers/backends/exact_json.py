"""JSON as upstreams write it: integers of any length stay exact, and half characters become whole or harmless. Pure.

`orjson` reads and writes nearly everything, fast. It turns integers above 64 bits into floats, and refuses halves of
characters (`"\\ud83d"` alone), byte-order marks, NaN, and bytes that are not UTF-8. The standard library reads those.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from openfall.router_core.jobs.json_bounds import JsonTooLarge, check_depth, check_values

MAX_TRAILER = 1024
"""The characters behind a JSON text that are ignored."""

MAX_DIGITS = 12
"""The digits of a number that arrives as a text."""

MAX_INTEGER = 2**63 - 1
"""The largest integer that is a count. A division by a larger one may have no result."""

MAX_HALVES = 20_000
"""The half characters of a text that are joined to whole ones. A million would take 3 s."""

_DECODER = json.JSONDecoder(strict=False)

BOM = b"\xef\xbb\xbf"
"""A byte-order mark, with which some servers and proxies begin a body."""

_CHARSET = re.compile(
    r"charset\s*=\s*[\"']?((?:iso-?8859-\d{1,2}|latin-?\d|windows-\d{3,4}|cp\d{3,4}|gb\w{1,6}|big5|shift[_-]jis|euc-\w\w|koi8-\w))\b",
    re.IGNORECASE,
)
"""The character sets of texts that are not Unicode."""
_HALF_IN_UTF_8 = b"\xed"
"""The first byte of half a character. Some characters of Korean begin with it, too."""
_DIGITS = bytes(byte if byte in b"-." else ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_INTEGERS = (b" " + b"0" * 20, b"-" + b"0" * 19)
"""How an integer that may need more than 64 bits begins, with every digit as a 0."""


def loads(data: bytes | str, *, halves: bool = False) -> Any:
    """The value of a JSON text. Raises `ValueError`, and `JsonTooLarge` past the bounds. NaN and infinities are null.

    `halves` leaves half characters as they are, for a stream whose next piece may have the other half.
    """
    raw = (data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).removeprefix(BOM)
    check_values(raw)
    value, is_whole = _parse(raw)
    check_depth(raw, value)
    return value if halves or is_whole else mend(value)


def _parse(raw: bytes) -> tuple[Any, bool]:
    """The value, and whether it surely has no half characters."""
    if not _has_long_integer(raw):
        try:
            return orjson.loads(raw), True
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(_decode(raw), strict=False, parse_constant=lambda _: None), False
    except RecursionError:
        raise JsonTooLarge("is nested too deeply") from None


def _has_long_integer(raw: bytes) -> bool:
    """Whether a JSON text may have an integer above 64 bits. Digits behind a point are none of an integer."""
    digits = b" " + raw.translate(_DIGITS)
    return any(beginning in digits for beginning in _LONG_INTEGERS)


def loads_answer(body: bytes) -> Any:
    """The value of a whole body, as `loads`, whatever its server wrote behind it: a null byte, a brace, a comment. A
    second object behind it shows that the first is no whole answer."""
    try:
        return loads(body)
    except JsonTooLarge:
        raise
    except ValueError:
        text = _decode(body)
        _, end = _DECODER.raw_decode(text)
        if end == 0 or "{" in text[end:] or len(text) - end > MAX_TRAILER:
            raise
        return loads(text[:end])


def in_utf8(raw: bytes, content_type: str) -> bytes:
    """A text in UTF-8. It may be in the character set that its content type names: servers name one out of habit, so
    what is valid UTF-8 stays."""
    match = _CHARSET.search(content_type)
    if match is None:
        return raw
    try:
        raw.decode()
    except UnicodeDecodeError:
        try:
            return raw.decode(match[1]).encode()
        except (LookupError, UnicodeDecodeError):
            pass
    return raw


def whole_number(value: Any) -> int | None:
    """A number of JSON that is an integer of 0 or more and fits into 64 bits; None for any other: no count is larger.
    Some servers write `12.0`, or a text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER else None


def dumps(value: Any) -> bytes:
    """A value as JSON. Raises `TypeError` for a value that JSON cannot carry."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer above 64 bits, half a character, or no JSON at all
        try:
            text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        except (ValueError, RecursionError) as error:
            raise TypeError(str(error)) from None
        return mend_text(text).encode()


def mend(value: Any) -> Any:
    """A copy of a JSON value: neighbouring halves are one character, and a half alone is U+FFFD."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:  # one pass over the whole text takes a tenth of the time of one for each string
        return json.loads(mend_text(json.dumps(value, ensure_ascii=False)))


def mend_text(text: str) -> str:
    """The same text: neighbouring halves are one character, and a half alone is U+FFFD. Of more than `MAX_HALVES`
    each is a question mark."""
    try:
        text.encode()
    except UnicodeEncodeError:
        marked = text.encode(errors="replace")
        if len(marked) - len(text.encode(errors="ignore")) > MAX_HALVES:
            return marked.decode()
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def ends_in_half(text: str) -> bool:
    """Whether the next piece may begin with the other half of the last character."""
    return bool(text) and "\ud800" <= text[-1] <= "\udbff"


def _decode(raw: bytes) -> str:
    """A text of JSON in any encoding of Unicode: it begins with ASCII, so its null bytes show the encoding."""
    encoding = json.detect_encoding(raw)
    if raw.count(_HALF_IN_UTF_8) > MAX_HALVES:
        return raw.decode(encoding, "replace")
    try:
        return raw.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode(encoding, "replace")
