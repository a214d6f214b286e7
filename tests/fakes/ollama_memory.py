"""The scheduler of the Ollama fake: what is in memory, who waits for it, when it goes. After server/sched.go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MIB = 2**20
GIB = 2**30
BUSY = "server busy, please try again.  maximum pending requests exceeded"  # sched.go, ErrMaxQueue
OUT_OF_MEMORY = "llama-server process has terminated: cudaMalloc failed: out of memory"  # llm/status.go, its words


class Refused(Exception):
    """A refusal of Ollama: a status and the text under `error`."""

    def __init__(self, status: int, text: str, **more: str) -> None:
        self.status, self.body = status, {"error": text, **more}
        super().__init__(text)


@dataclass
class FakeModel:
    """A model that the fake has. `size` and `kv` (for a token of context) are in bytes, `load_s` in seconds.

    `fault` is one of those in `tests.fakes.ollama`; None: it works.
    """

    name: str
    size: int = 145 * MIB
    kv: int = 23_040
    load_s: float = 0.0
    ctx: int = 4096
    capabilities: tuple[str, ...] = ("completion",)
    fault: str | None = None


@dataclass
class Runner:
    """A model in memory. `leaving` after an unload request: it stays listed until it is unloaded."""

    model: FakeModel
    ctx: int
    size: int
    size_vram: int
    slots: asyncio.Semaphore
    keep: float
    expires_at: float = math.inf
    users: int = 0
    leaving: bool = False


@dataclass(kw_only=True)
class Memory:
    """The card, and the models on it. Seconds and bytes; the names of the settings are those of Ollama's environment.

    A model is loaded on its first use, after others were sent away if it does not fit beside them; alone it is loaded
    in any case, with the part on the CPU that does not fit. Another context loads it again.
    """

    vram: int = 8 * GIB
    num_parallel: int = 1
    max_queue: int = 512
    max_loaded_models: int = 3
    keep_alive: float = 300.0
    unload_s: float = 0.1
    runners: dict[str, Runner] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    """Every load there was, oldest first."""
    _pending: int = 0
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)

    def present(self) -> list[Runner]:
        """What is in memory now, the one that stays longest first."""
        now = time.monotonic()
        for name, runner in list(self.runners.items()):
            if runner.expires_at <= now and not runner.users and not runner.leaving:
                del self.runners[name]
        return sorted(self.runners.values(), key=lambda runner: -runner.expires_at)

    @asynccontextmanager
    async def using(self, model: FakeModel, ctx: int | None, keep_alive: float | None) -> AsyncIterator[Runner]:
        """A slot of the model, loaded if it was not. `Refused` when too many wait for a load, or it does not load."""
        self.present()
        runner = self.runners.get(model.name)
        if runner is None or not _fits(runner, ctx):
            runner = await self._queued(model, ctx)
        runner.users += 1
        try:
            async with runner.slots:
                yield runner
        finally:
            runner.users -= 1
            runner.keep = self.keep_alive if keep_alive is None else keep_alive
            runner.expires_at = time.monotonic() + runner.keep
            if not runner.keep:
                self.send_away(model.name)

    def send_away(self, name: str) -> None:
        """Unload it a little after its last call has ended."""
        if (runner := self.runners.get(name)) and not runner.leaving:
            task = asyncio.create_task(self._evict(runner))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _queued(self, model: FakeModel, ctx: int | None) -> Runner:
        if self._pending > self.max_queue:  # one is out of the queue, being loaded
            raise Refused(503, BUSY)
        self._pending += 1
        try:
            async with self._loading:
                runner = self.runners.get(model.name)
                if runner and _fits(runner, ctx):
                    return runner
                if runner:
                    await self._evict(runner)
                return await self._load(model, min(ctx or model.ctx, model.ctx))
        finally:
            self._pending -= 1

    async def _load(self, model: FakeModel, ctx: int) -> Runner:
        size = model.size + ctx * self.num_parallel * model.kv
        while self.present() and (size > self._free() or len(self.runners) >= self.max_loaded_models):
            await self._evict(min(self.runners.values(), key=lambda runner: (runner.users > 0, runner.keep)))
        await asyncio.sleep(model.load_s)
        self.loads.append(model.name)
        if model.fault == "oom":
            raise Refused(500, OUT_OF_MEMORY)
        on_card = min(size, self._free()) if model.fault != "on_cpu" else size // 2
        slots = asyncio.Semaphore(self.num_parallel)
        runner = Runner(model, ctx, size, on_card, slots, self.keep_alive)
        self.runners[model.name] = runner
        return runner

    async def _evict(self, runner: Runner) -> None:
        runner.leaving = True
        while runner.users:
            await asyncio.sleep(0.01)
        await asyncio.sleep(self.unload_s)
        if self.runners.get(runner.model.name) is runner:
            del self.runners[runner.model.name]

    def _free(self) -> int:
        return self.vram - sum(runner.size_vram for runner in self.runners.values())


def _fits(runner: Runner, ctx: int | None) -> bool:
    return not runner.leaving and (ctx is None or runner.ctx == min(ctx, runner.model.ctx))
