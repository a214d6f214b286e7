"""Whatever puts jobs in or asks about them: the Python client, the command line, batches.

`from producers import Openfall, AsyncOpenfall, resolve_runtime_model`. Names are loaded when first used, so that the
command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client import AsyncOpenfall
    from producers.errors import BadRequest, NoModel, ProducerError, PromptTooLarge, StillQueued
    from producers.inbox import Delivered
    from producers.portal import Openfall
    from producers.runtime import RuntimeModel, report_call, resolve_runtime_model

_HOMES = {
    "AsyncOpenfall": "client",
    "Delivered": "inbox",
    "Openfall": "portal",
    "BadRequest": "errors",
    "NoModel": "errors",
    "ProducerError": "errors",
    "PromptTooLarge": "errors",
    "StillQueued": "errors",
    "RuntimeModel": "runtime",
    "report_call": "runtime",
    "resolve_runtime_model": "runtime",
}

__all__ = [
    "AsyncOpenfall",
    "BadRequest",
    "Delivered",
    "NoModel",
    "Openfall",
    "ProducerError",
    "PromptTooLarge",
    "RuntimeModel",
    "StillQueued",
    "report_call",
    "resolve_runtime_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"producers.{_HOMES[name]}"), name)
