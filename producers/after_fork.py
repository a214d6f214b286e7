"""What a forked child inherits from the clients of its parent, and must leave alone."""

from __future__ import annotations

import os
from weakref import WeakSet

_SHARED: WeakSet[object] = WeakSet()


def keep_in_children(client: object) -> None:
    """Never destroy `client` in a forked child, not even at its exit.

    An event loop waits for its sockets by an epoll object of the kernel, which a fork does not copy. asyncio closes a
    connection that nothing refers to, and takes it out of that object: the parent would get no more replies from Redis.
    """
    _SHARED.add(client)


def _keep() -> None:
    import ctypes

    for client in list(_SHARED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_keep)
