"""A durable queue for LLM completions.

`Openfall` is the client for plain code, `AsyncOpenfall` the one for asyncio. Each name is imported when it is first
used, so that `import openfall` and the command line start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    __version__: str
    from openfall.config import ConfigError, NoRedis
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.default_client import report_call, resolve_runtime_model
    from openfall.producers.embeddings_result import Embeddings
    from openfall.producers.errors import (
        BadRequest,
        ClientClosed,
        NoEmbeddings,
        NoModel,
        ProducerError,
        PromptTooLarge,
        RequestTooComplex,
        StillQueued,
    )
    from openfall.producers.inbox_delivery import InboxDelivery
    from openfall.producers.job_request import JobRequest, SubmitOptions
    from openfall.producers.model_loading import ModelLoad
    from openfall.producers.runtime_model import RuntimeModel
    from openfall.producers.stream_event import StreamEvent
    from openfall.producers.sync_client import Openfall
    from openfall.router_core.catalog.catalog_errors import AmbiguousName, UnknownName
    from openfall.router_core.errors import InvalidOperation, OpenfallError
    from openfall.router_core.jobs.envelope import UnreadableEnvelope
    from openfall.router_core.jobs.result import Result
    from openfall.router_core.state.errors import (
        Backpressure,
        DeadlinePassed,
        IdempotencyConflict,
        LostJob,
        MemoryPressure,
        NotConfirmed,
        QueueFull,
        StoreError,
        StoreFull,
        StoreRefused,
        StoreUnreachable,
        UnknownJob,
        UnsuitableRedis,
    )
    from openfall.router_core.state.jobs import Receipt

_MODULES = {
    "config": ("ConfigError", "NoRedis"),
    "producers.client": ("AsyncOpenfall",),
    "producers.default_client": ("report_call", "resolve_runtime_model"),
    "producers.embeddings_result": ("Embeddings",),
    "producers.errors": (
        "BadRequest",
        "ClientClosed",
        "NoEmbeddings",
        "NoModel",
        "ProducerError",
        "PromptTooLarge",
        "RequestTooComplex",
        "StillQueued",
    ),
    "producers.inbox_delivery": ("InboxDelivery",),
    "producers.model_loading": ("ModelLoad",),
    "producers.job_request": ("JobRequest", "SubmitOptions"),
    "producers.runtime_model": ("RuntimeModel",),
    "producers.stream_event": ("StreamEvent",),
    "producers.sync_client": ("Openfall",),
    "router_core.catalog.catalog_errors": ("AmbiguousName", "UnknownName"),
    "router_core.errors": ("InvalidOperation", "OpenfallError"),
    "router_core.jobs.envelope": ("UnreadableEnvelope",),
    "router_core.jobs.result": ("Result",),
    "router_core.state.errors": (
        "Backpressure",
        "DeadlinePassed",
        "IdempotencyConflict",
        "LostJob",
        "QueueFull",
        "StoreError",
        "StoreFull",
        "MemoryPressure",
        "NotConfirmed",
        "StoreRefused",
        "StoreUnreachable",
        "UnknownJob",
        "UnsuitableRedis",
    ),
    "router_core.state.jobs": ("Receipt",),
}
_MODULE_BY_NAME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AmbiguousName",
    "AsyncOpenfall",
    "Backpressure",
    "BadRequest",
    "ClientClosed",
    "ConfigError",
    "DeadlinePassed",
    "Embeddings",
    "IdempotencyConflict",
    "InboxDelivery",
    "InvalidOperation",
    "JobRequest",
    "LostJob",
    "MemoryPressure",
    "ModelLoad",
    "NoEmbeddings",
    "NoModel",
    "NoRedis",
    "NotConfirmed",
    "Openfall",
    "OpenfallError",
    "ProducerError",
    "PromptTooLarge",
    "QueueFull",
    "Receipt",
    "RequestTooComplex",
    "Result",
    "RuntimeModel",
    "StillQueued",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnreachable",
    "StreamEvent",
    "SubmitOptions",
    "UnknownJob",
    "UnknownName",
    "UnreadableEnvelope",
    "UnsuitableRedis",
    "__version__",
    "report_call",
    "resolve_runtime_model",
]


def deliver(job_id: str) -> NoReturn:
    """The function that an rq job of openfall names; its argument is the id of an accepted job.

    Openfall's workers recognize the name and call nothing. Only a stock `rq worker` that picks up such a job calls it.
    """
    raise RuntimeError(f"job {job_id} needs `openfall work`, not `rq worker`: it was left unchanged")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # a notebook completes names that were not used yet


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("openfall")
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"openfall.{_MODULE_BY_NAME[name]}"), name)
