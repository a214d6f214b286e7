"""What claims are compared with: pools, keys, limits, budgets, cards, and open breakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.processes import BenchmarkError
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import CallPrice
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.rate_limits import Rate, rates_for
from openfall.router_core.state import keys, scripts
from openfall.router_core.state.redis_connection import RedisConnection, pack_arguments
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription

URGENCIES, SHARES = ("interactive", "background", "batch"), (0.0, 0.1, 0.05)
BUDGETS = tuple(Budget(name=name, usd=10**6) for name in ("day", "other-day", "third-day"))
PRICE = CallPrice(input=1000, output=1000, request=0, web_search=0, answer=1)
RATES = rates_for(Backend(url="http://box", pool="gpu", requests_per_minute=10**7, tokens_per_minute=10**9))
"""Limits that are never reached."""
CARD = "card"
CUTS = (
    (f"guarded_call('HGETALL', '{keys.BLOCKED}')", "{}"),
    (f"guarded_call('HGET', '{keys.BREAKER}' .. target, 'epoch') or '0'", "'0'"),
)
"""Replacements in the script without breakers."""


@dataclass(frozen=True)
class Pool:
    """The queues of one pool: three for each model, each model at two backends that have a key, or several, and limits,
    or none. With `cards` all backends are on one card, which has three models in memory, which have slots of their
    own."""

    queues: int
    shares: bool = True
    more_keys: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    cards: bool = False

    def subscriptions(self) -> list[QueueSubscription]:
        models = range(self.queues // len(URGENCIES))
        return [
            QueueSubscription(f"gpu.model-{n}.{urgency}",
                    (self._backend(f"box-{n % 7}", "0a1b"), self._backend("tower", "2c3d")),
                    min_share=share * self.shares)
            for urgency, share in zip(URGENCIES, SHARES, strict=True)
            for n in models
        ]  # fmt: skip

    def _backend(self, name: str, key: str) -> BackendCapacity:
        names = tuple(budget.name for budget in self.budgets)
        price = PRICE if names else None
        card = {"card": CARD, "model_slots": 1024} if self.cards else {}
        return BackendCapacity(name, 4096, (key, *self.more_keys), rates=self.rates, budgets=names, price=price, **card)

    @property
    def filled_queue(self) -> str:
        """The queue of all jobs: halfway down, so that a claim examines others first. Its model is healthy."""
        return self.subscriptions()[self.queues // 2].queue

    @property
    def filled_model(self) -> str:
        return self.filled_queue.split(".")[1]

    def targets_to_open(self, count: int) -> list[str]:
        """Targets to open: those of this worker's other models first, then those of unknown models."""
        ours = [f"{capacity.name}/{name}" for queue in self.subscriptions() for capacity in queue.backends
                if (name := queue.queue.split(".")[1]) != self.filled_model]  # fmt: skip
        return [*dict.fromkeys(ours), *(f"far/other-{n}" for n in range(count))][:count]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: a pool, what there is beside its jobs, and what it may cost at most more than the base (None: no
    limit). `bare`: its claims read no breakers."""

    name: str
    open_breakers: int = 0
    batch_jobs: int = 0
    bare: bool = False
    most_us: float | None = None
    shares: bool = True
    more_keys: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    cards: bool = False

    def pool(self, queues: int) -> Pool:
        return Pool(queues, self.shares, self.more_keys, self.rates, self.budgets, self.cards)


BASE = Variant(name="all is well")
VARIANTS = (
    Variant(name="all is well, again"),
    Variant(name="without breakers", bare=True),
    Variant(name="without shares", shares=False),
    Variant(name="1 breaker open", open_breakers=1),
    Variant(name="20 breakers open", open_breakers=20),
    Variant(name="batch kept waiting", batch_jobs=100),
    Variant(name="three keys", more_keys=("4e5f", "6a7b")),
    Variant(name="limits of requests and tokens", rates=RATES),
    Variant(name="three budgets", budgets=BUDGETS, most_us=15.0),
    Variant(name="models on cards", cards=True, most_us=10.0),
)
"""The first is the base itself: what it costs more is the error of the measurement."""


class BareLink:
    """A connection whose claims do not read breakers."""

    def __init__(self, link: RedisConnection) -> None:
        claim = scripts.load("claim")
        text = claim.library.decode()
        for part, replacement in CUTS:
            if text.count(part) != 1:
                raise BenchmarkError(f"claim.lua has changed: {part!r} is not once in it")
            text = text.replace(part, replacement)
        self._link, self._function = link, f"{claim.function}_bare"
        self.library = text.replace(claim.function, self._function)

    async def script(self, name: str, arguments: Any, *bodies: Any) -> Any:
        if name != "claim":
            return await self._link.script(name, arguments, *bodies)
        return await self._link.command("FCALL", self._function, 0, "", pack_arguments(arguments), *bodies)
