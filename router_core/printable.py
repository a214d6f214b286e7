"""Text from outside, made safe to show: no character controls a terminal, is invisible, or reorders the others."""

from __future__ import annotations

import re

_INVISIBLE = (
    "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""C1 controls, separators of lines, marks that change the direction, and format characters without a width. The joiners
U+200C and U+200D are not among them: languages and emoji need them."""

_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{_INVISIBLE}\ud800-\udfff]")
_RAW_IN_JSON = re.compile(f"[{_INVISIBLE}]")
"""JSON escapes the C0 controls and lone surrogates itself."""


def escape_controls(text: str) -> str:
    r"""The text with `\x1b`, `\u202e` ... for each control character. Line feeds and tabs stay, CRLF is a line feed."""
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(_escape, text.replace("\r\n", "\n"))


def escape_json(document: str) -> str:
    r"""A JSON document with `\u2028`, `\u009b` ... for the control characters that JSON allows. Its value is the same.

    Many readers of lines end a line at some of these (`str.splitlines`), and a terminal obeys others.
    """
    return _RAW_IN_JSON.sub(_escape_for_json, document)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_for_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
