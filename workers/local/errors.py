"""The error of the embedded services."""

from __future__ import annotations


class LocalError(Exception):
    """A service cannot be started or used. The message names the place and the remedy, and can be shown to users."""
