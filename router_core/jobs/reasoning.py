"""Leaves the reasoning out of a text. A text is unchecked and may have millions of tags: each is read once. Pure."""

from __future__ import annotations

import re

_OPEN, _CLOSE = "<think>", "</think>"
_REASONING = re.compile(r"\s*<(think|thinking)>")
_END_OF_REASONING = re.compile(r"^[ \t]*</(?:think|thinking)>[ \t]*$", re.MULTILINE)


def without_reasoning(text: str) -> str:
    """A text without its leading reasoning: `<think>...</think>`, or all up to a `</think>` on its own line."""
    start = 0
    while (opened := _REASONING.match(text, start)) is not None:
        close = f"</{opened[1]}>"
        closed = text.find(close, opened.end())
        start = len(text) if closed < 0 else closed + len(close)
    text = text[start:]
    if (end := _END_OF_REASONING.search(text)) is not None and "<think" not in text[: end.start()]:
        text = text[end.end() :]
    return text.strip()


def without_thinking(text: str) -> str:
    """A text with a space in place of each `<think>...</think>`. A tag without an end stays.

    A regular expression would search the rest of the text for an end again at each tag.
    """
    parts, start = [], 0
    while (opened := text.find(_OPEN, start)) >= 0 and (closed := text.find(_CLOSE, opened)) >= 0:
        parts += [text[start:opened], " "]
        start = closed + len(_CLOSE)
    return "".join([*parts, text[start:]])
