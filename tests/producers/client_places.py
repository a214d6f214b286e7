# ruff: noqa: T201
"""The places in which programs use a client. Each function is a place; `python -m` runs one and prints what it got.

A child of a fork that hangs is killed by its alarm, and prints nothing.
"""

from __future__ import annotations

import asyncio
import builtins
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from openfall import AsyncOpenfall, Openfall, OpenfallError, resolve_runtime_model

HANG_SECONDS = 60


def report(use: Callable[[], object]) -> None:
    try:
        print(use(), flush=True)
    except OpenfallError as error:
        print(type(error).__name__, error, flush=True)


def in_fork(use: Callable[[], object], end: Callable[[int], object] = os._exit) -> None:
    """Run `use` in a forked child and wait for it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_SECONDS)
        report(use)
        sys.stdout.flush()
        end(0)
    _, status = os.waitpid(child, 0)
    print("child", status, flush=True)


def ask(llm: Openfall, text: str = "hi") -> str:
    return llm.ask(text, timeout=HANG_SECONDS).text


async def ask_async(llm: AsyncOpenfall, text: str = "hi") -> str:
    return (await llm.ask(text, timeout=HANG_SECONDS)).text


def fork_after_use(config: str) -> None:
    with Openfall(config=config) as llm:
        report(lambda: ask(llm, "parent"))
        in_fork(lambda: ask(llm, "child"))
        report(lambda: ask(llm, "parent again"))


def fork_before_use(config: str) -> None:
    llm = Openfall(config=config)
    in_fork(lambda: ask(llm, "child"), sys.exit)
    report(lambda: ask(llm, "parent"))


def fork_that_only_ends(config: str) -> None:
    llm = Openfall(config=config, retry_for=0)  # a reply of Redis that goes astray is an error
    report(lambda: ask(llm, "parent"))
    in_fork(lambda: "nothing", sys.exit)
    report(lambda: ask(llm, "parent again"))


def fork_that_closes(config: str) -> None:
    llm = Openfall(config=config, retry_for=0)
    report(lambda: ask(llm, "parent"))
    in_fork(llm.close, sys.exit)
    report(lambda: ask(llm, "parent again"))


def fork_while_threads_ask(config: str) -> None:
    llm = Openfall(config=config)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, llm, f"thread {n}") for n in range(8)]
        in_fork(lambda: ask(llm, "child"))
        print(sorted(answer.result() for answer in answers))


def fork_while_a_thread_holds_every_lock(config: str) -> None:
    """Each lock that a module, or a class in it, has for all its callers: another thread may hold any at a fork."""
    llm = Openfall(config=config)
    report(lambda: ask(llm, "parent"))
    places = [module for name, module in sys.modules.items() if name.startswith(("asyncio.", "redis.", "openfall."))]
    values = [value for place in places for value in vars(place).values()]
    values += [value for owner in values if isinstance(owner, type) for value in vars(owner).values()]
    held = {id(lock): lock for lock in values if isinstance(lock, type(threading.Lock()) | type(threading.RLock()))}
    forked = threading.Event()
    holding = threading.Event()

    def hold() -> None:
        with ExitStack() as locks:
            for lock in held.values():
                locks.enter_context(lock)
            holding.set()
            forked.wait(HANG_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_SECONDS)
        report(lambda: ask(llm, "child"))
        os._exit(0)
    forked.set()
    thread.join()
    print("child", os.waitpid(child, 0)[1], len(held) > 1)


def imports_of_pydantic(config: str) -> None:
    """What the compiled code imports at its first use, it imports under a lock that a child forked meanwhile lacks."""
    llm, imported, real = Openfall(config=config), [], builtins.__import__

    def record(name: str, *rest: Any) -> Any:
        if name.startswith("pydantic_core"):
            imported.append(name)
        return real(name, *rest)

    builtins.__import__ = record
    report(lambda: ask(llm))
    print(imported)


def fork_with_an_open_stream(config: str) -> None:
    llm = Openfall(config=config)
    events = llm.stream(llm.submit("waits for its worker", role="tags"))
    print(next(events)["event"])
    in_fork(lambda: next(events))


def fork_of_a_fork(config: str) -> None:
    llm = Openfall(config=config)
    report(lambda: ask(llm, "parent"))

    def child() -> str:
        in_fork(lambda: ask(llm, "grandchild"))
        return ask(llm, "child")

    in_fork(child)


def multiprocessing_pool(config: str) -> None:
    global POOLED
    POOLED = Openfall(config=config)
    report(lambda: ask(POOLED, "parent"))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        print(sorted(pool.map(ask_pooled, ["one", "two", "three"], timeout=HANG_SECONDS)))


def ask_pooled(text: str) -> str:
    return ask(POOLED, text)


POOLED: Openfall


def default_client_after_fork(config: str) -> None:
    report(lambda: resolve_runtime_model("chat", config=config).live)
    in_fork(lambda: resolve_runtime_model("chat", config=config).live, sys.exit)
    report(lambda: resolve_runtime_model("chat", config=config).live)


def async_client_after_fork(config: str) -> None:
    llm = AsyncOpenfall(config=config)
    report(lambda: asyncio.run(ask_async(llm, "parent")))
    in_fork(lambda: asyncio.run(ask_async(llm, "child")), sys.exit)
    report(lambda: asyncio.run(ask_async(llm, "parent again")))


def fork_within_a_loop(config: str) -> None:
    async def main() -> None:
        llm = AsyncOpenfall(config=config, retry_for=0)
        print(await ask_async(llm, "parent"))
        in_fork(lambda: asyncio.run(ask_async(llm, "child")))
        in_fork(lambda: ask_async(llm).send(None))
        print(await ask_async(llm, "parent again"))
        await llm.close()

    asyncio.run(main())


def second_loop(config: str) -> None:
    llm = AsyncOpenfall(config=config)
    for n in range(3):
        report(lambda n=n: asyncio.run(ask_async(llm, f"loop {n}")))  # type: ignore[misc]


def loops_at_the_same_time(config: str) -> None:
    llm = AsyncOpenfall(config=config)
    with ThreadPoolExecutor(4) as pool:
        print(sorted(pool.map(lambda n: asyncio.run(ask_async(llm, f"loop {n}")), range(4))))
    asyncio.run(llm.close())


def running_loop(config: str) -> None:
    async def cell() -> None:
        with Openfall(config=config) as llm:
            print(ask(llm, "in a notebook"))

    asyncio.run(cell())


def no_loop(config: str) -> None:
    llm = AsyncOpenfall(config=config)
    report(lambda: llm.submit("x").send(None))


def closed_elsewhere(config: str) -> None:
    """Another thread closes the client while a call waits for its answer."""
    llm = Openfall(config=config)
    job = llm.submit("waits for its worker", role="tags")
    waiting = threading.Event()

    def close() -> None:
        waiting.wait()
        llm.close()

    thread = threading.Thread(target=close)
    thread.start()
    events = llm.stream(job)
    next(events)
    waiting.set()
    report(lambda: next(events))
    report(lambda: llm.wait(job))
    thread.join()


def exit_without_close(config: str) -> None:
    llm = Openfall(config=config)
    report(lambda: ask(llm, "never closed"))
    asyncio.run(ask_async(AsyncOpenfall(config=config), "neither"))


def loop_without_an_end(config: str) -> None:
    """A program with `run_until_complete`, as older ones have it: nothing cancels the tasks of the client."""
    llm = AsyncOpenfall(config=config)
    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(ask_async(llm, "open loop")))
    closed = asyncio.new_event_loop()
    print(closed.run_until_complete(ask_async(llm, "closed loop")))
    with warnings.catch_warnings():  # its socket is left open too, which only a developer wants to know
        warnings.simplefilter("ignore", ResourceWarning)
        closed.close()
        del closed, loop, llm
        gc.collect()


def client_for_each_call(config: str) -> None:
    """A handler that makes a client, and closes none."""
    report(lambda: ask(Openfall(config=config), "first"))
    answers = [ask(Openfall(config=config), f"call {n}") for n in range(5)]
    threads = [thread for thread in threading.enumerate() if thread.name == "openfall"]
    for thread in threads:
        thread.join(HANG_SECONDS)
    print(answers == [f"echo call {n}" for n in range(5)], [thread for thread in threads if thread.is_alive()])
    inbox = Openfall(config=config)
    inbox.submit("letter", inbox="letters")
    delivery = next(iter(inbox.inbox("letters")))
    del inbox
    report(lambda: (delivery.text, delivery.ack()))
    try:
        Openfall(nothing=1)  # type: ignore[call-arg]
    except TypeError as error:
        print("unexpected keyword" in str(error))


def clients_in_cycles(config: str) -> None:
    """Objects that have a client and its open stream, and refer to themselves: the garbage collector ends them."""

    class Bot:
        def __init__(self) -> None:
            self.llm = Openfall(config=config)
            self.events = self.llm.stream(self.llm.submit("waits for its worker", role="tags"))
            self.own = self

    gc.disable()
    print({next(Bot().events)["event"] for _ in range(5)})
    threads = [thread for thread in threading.enumerate() if thread.name == "openfall"]
    gc.collect()
    for thread in threads:
        thread.join(HANG_SECONDS)
    print(len(threads), [thread for thread in threads if thread.is_alive()])


def call_at_exit(config: str) -> None:
    import atexit

    llm: list[Openfall] = []
    atexit.register(lambda: report(lambda: ask(llm[0], "at exit")))
    llm.append(Openfall(config=config))
    report(lambda: ask(llm[0], "before"))


if __name__ == "__main__":
    warnings.simplefilter("default", ResourceWarning)
    globals()[sys.argv[1]](sys.argv[2])
