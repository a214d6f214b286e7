"""JSON as callers write it: integers of any length stay exact, and half a character becomes U+FFFD. Pure.

A program that cuts a text within an emoji keeps half a character, which JavaScript writes as an escape (`"\\ud83d"`).
JSON's grammar allows that, and no provider takes it: the conversation that has it would be refused for ever.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Every escape of a text: the pair of a whole character, half of one, or any other."""


def loads_request(raw: bytes, *, allow_inf_nan: bool = True) -> Any:
    """The value of a JSON text. Raises `ValueError`."""
    try:
        return from_json(raw, allow_inf_nan=allow_inf_nan)
    except ValueError:
        replaced = _ESCAPE.sub(_whole, raw)
        if replaced == raw:
            raise
        return from_json(replaced, allow_inf_nan=allow_inf_nan)


def _whole(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["half"] else escape[0]
