"""What is wrong with a text that is not JSON, in words that need no knowledge of a parser."""

from __future__ import annotations

import re

_WORDS = (
    (
        re.compile(r"expected (ident|value)"),
        "a value must be text in double quotes, a number, true, false, null, {} or []",
    ),
    (re.compile(r"EOF while parsing (a|an) (\w+)"), r"the text ends within \1 \2"),
    (re.compile(r"trailing characters"), "there is more after its end"),
    (re.compile(r"key must be a string"), "a key must be in double quotes"),
    (
        re.compile(r"control character \(.*?\) found while parsing a string"),
        r"a text has a line break or another control character: write it as \\n or \\u0000",
    ),
    (re.compile(r" at line 1 column "), " at column "),
)


def describe_json_fault(error: ValueError) -> str:
    """The fault and its place: `a key must be in double quotes at column 2`."""
    text = str(error)
    for words, plain in _WORDS:
        text = words.sub(plain, text)
    return text
