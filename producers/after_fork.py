"""What a forked child inherits from the clients of its parent, and must leave alone."""

from __future__ import annotations

import asyncio.events
import asyncio.mixins
import os
import threading
from weakref import WeakSet

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

_SHARED: WeakSet[object] = WeakSet()


def keep_in_children(client: object) -> None:
    """Never destroy `client` in a forked child, not even at its exit.

    An event loop waits for its sockets by an epoll object of the kernel, which a fork does not copy. asyncio closes a
    connection that nothing refers to, and takes it out of that object: the parent would get no more replies from Redis.
    """
    _SHARED.add(client)


def _renew_locks() -> None:
    """Give this process locks of its own in place of those of asyncio that all loops share.

    Another thread may hold one at the moment of the fork: when it makes the first loop of the process, or when an event
    or a lock of asyncio first waits. That thread is not in the child, and no loop of the child would get further.
    """
    asyncio.events._lock = threading.Lock()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    asyncio.mixins._global_lock = threading.Lock()  # noqa: SLF001


def _keep() -> None:
    import ctypes

    for client in list(_SHARED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


class _Example(BaseModel):
    number: int = 0


def _use_pydantic() -> None:
    """Let pydantic make what it makes once: it does so under locks that a child forked meanwhile would wait for.

    They are in its compiled code, where nothing can renew them: so no thread may be the first to use it. Within such a
    lock, the first dump of a model imports a module, and other threads run.
    """
    example = _Example()
    example.model_dump()
    example.model_dump_json()
    to_json(None)
    try:
        _Example.model_validate({"number": ""})
    except ValidationError as error:
        str(error)


_use_pydantic()

if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_locks)
    os.register_at_fork(after_in_child=_keep)
