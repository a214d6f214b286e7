"""Text from outside is shown without its control characters; JSON keeps its value."""

from __future__ import annotations

import json
import unicodedata
from functools import cache

import pytest

from openfall.router_core.printable import escape_controls, escape_json


@cache
def every_character() -> str:
    return "".join(map(chr, range(0x110000)))


def test_plain_text_of_any_language_stays_as_it_is():
    text = "Grüße, 日本語, עברית, العربية, नमस्ते, می‌خواهم\n\tindented 👩‍👩‍👧 ✓ [/INST] [red] :smile:"
    assert escape_controls(text) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[2Jgone", r"\x1b[2Jgone", id="clear screen"),
        pytest.param("\x1b]0;title\x07", r"\x1b]0;title\x07", id="OSC and BEL"),
        pytest.param("\x9b31mred", r"\x9b31mred", id="C1"),
        pytest.param("safe\rEVIL", r"safe\x0dEVIL", id="CR"),
        pytest.param("a\r\nb\r\n", "a\nb\n", id="CRLF"),
        pytest.param("\u202egpj.exe", r"\u202egpj.exe", id="right-to-left override"),
        pytest.param("\u2066x\u2069", r"\u2066x\u2069", id="isolates"),
        pytest.param("\u200bz\ufeff", r"\u200bz\ufeff", id="no width"),
        pytest.param("a\u2028b", r"a\u2028b", id="line separator"),
        pytest.param("\U000e0041", r"\U000e0041", id="tag"),
        pytest.param("\ud83d", r"\ud83d", id="half a character"),
        pytest.param("\x00\x08\x7f", r"\x00\x08\x7f", id="NUL, BS, DEL"),
    ],
)
def test_a_control_character_is_shown_escaped(text, shown):
    assert escape_controls(text) == shown


def test_no_control_no_direction_mark_and_no_line_break_is_left_of_any_character():
    shown = escape_controls(every_character())
    controls = {char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    directions = {char for char in shown if unicodedata.bidirectional(char) in
                  ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")}  # fmt: skip
    assert not controls
    assert not directions


def test_json_keeps_its_value_and_is_one_line_for_every_reader_of_lines():
    value = {"text": "".join(char for char in every_character() if unicodedata.category(char) != "Cs")}
    document = escape_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(document) == value
    assert len(document.splitlines()) == 1
    assert escape_controls(document) == document
