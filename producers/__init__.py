"""Whatever puts jobs in or asks about them: the Python client, the command line, batches.

`from producers import Openfall, AsyncOpenfall`. Names are loaded when first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client import AsyncOpenfall
    from producers.errors import BadRequest, ProducerError, PromptTooLarge, StillQueued
    from producers.portal import Openfall

_HOMES = {
    "AsyncOpenfall": "client",
    "Openfall": "portal",
    "BadRequest": "errors",
    "ProducerError": "errors",
    "PromptTooLarge": "errors",
    "StillQueued": "errors",
}

__all__ = ["AsyncOpenfall", "BadRequest", "Openfall", "ProducerError", "PromptTooLarge", "StillQueued"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"producers.{_HOMES[name]}"), name)
