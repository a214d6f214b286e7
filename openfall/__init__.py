"""A durable queue between the people who need LLM completions and the models that write them.

`from openfall import Openfall` gives the client for plain code, `AsyncOpenfall` the one for asyncio. Python loads each
name when it is first used, so that `import openfall` and the command line start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.default_client import report_call, resolve_runtime_model
    from openfall.producers.errors import BadRequest, NoModel, NotFinished, ProducerError, PromptTooLarge
    from openfall.producers.inbox import InboxDelivery
    from openfall.producers.runtime import RuntimeModel
    from openfall.producers.sync_client import Openfall

_MODULES = {
    "AsyncOpenfall": "client",
    "BadRequest": "errors",
    "InboxDelivery": "inbox",
    "NoModel": "errors",
    "NotFinished": "errors",
    "Openfall": "sync_client",
    "ProducerError": "errors",
    "PromptTooLarge": "errors",
    "RuntimeModel": "runtime",
    "report_call": "default_client",
    "resolve_runtime_model": "default_client",
}

__all__ = [
    "AsyncOpenfall",
    "BadRequest",
    "InboxDelivery",
    "NoModel",
    "NotFinished",
    "Openfall",
    "ProducerError",
    "PromptTooLarge",
    "RuntimeModel",
    "__version__",
    "report_call",
    "resolve_runtime_model",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("openfall")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"openfall.producers.{_MODULES[name]}"), name)
