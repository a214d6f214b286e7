"""What the embedded parts say when they cannot be started."""

from __future__ import annotations


class LocalError(Exception):
    """A part cannot be started or used. The message names the place and the remedy, and is fit to be shown as it is."""
