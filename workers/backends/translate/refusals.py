"""The errors of translation."""

from __future__ import annotations


class Untranslatable(Exception):
    """The other dialect lacks a parameter that changes the result. The message names it."""


class Unreadable(Exception):
    """The body is not valid in its dialect. The message names the path, and repeats nothing of the contents."""
