"""Why a body was not translated."""

from __future__ import annotations


class Untranslatable(Exception):
    """The other dialect has no word for something that changes what the caller gets. The message names it."""


class Unreadable(Exception):
    """The body is not what its dialect says it is. The message names the place, and repeats nothing of its contents."""
