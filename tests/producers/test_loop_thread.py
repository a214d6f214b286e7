"""The thread of a client without an event loop, when it ends under threads that wait for it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from openfall.producers.errors import ClientClosed
from openfall.producers.loop_thread import LoopThread


@pytest.mark.parametrize(
    ("daemon", "at_exit", "errors"),
    [(True, True, [SystemExit]), (True, False, [ClientClosed]), (False, True, [ClientClosed])],
)
def test_a_daemon_thread_that_waits_at_the_exit_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, daemon: bool, at_exit: bool, errors: list[Any]
) -> None:
    raised: list[Any] = []  # Python prints the traceback of each of them but SystemExit
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))

    async def wait() -> None:
        waits.set()
        await asyncio.Event().wait()

    async def nothing() -> None:
        return

    loop_thread, waits = LoopThread(nothing), threading.Event()
    thread = threading.Thread(target=lambda: loop_thread.call(wait), daemon=daemon)
    thread.start()
    assert waits.wait(30)
    loop_thread.stop(at_exit=at_exit)
    thread.join(30)
    assert not thread.is_alive()
    assert raised == errors
