"""What claims are compared with: pools, keys, limits, budgets, cards, and open breakers."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.yardstick import ADDED_WORK
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import CallPrice
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.rate_limits import Rate, rates_for
from openfall.router_core.state import keys
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription

QUEUES = (12, 150)
"""A small fleet, and one of 50 models."""
URGENCIES, SHARES = ("interactive", "background", "batch"), (0.0, 0.1, 0.05)
BUDGETS = tuple(Budget(name=name, usd=10**6) for name in ("day", "other-day", "third-day"))
PRICE = CallPrice(input=1000, output=1000, request=0, web_search=0, answer=1)
RATES = rates_for(Backend(url="http://box", pool="gpu", requests_per_minute=10**7, tokens_per_minute=10**9))
"""Limits that are never reached."""
CARD = "card"
NOTHING_US = 1.0
"""What may cost nothing costs no more than this: a measurement has an error."""
WITHOUT_BREAKERS = (
    (f"guarded_call('HGETALL', '{keys.BLOCKED}')", "{}"),
    (f"guarded_call('HGET', '{keys.BREAKER}' .. target, 'epoch') or '0'", "'0'"),
)
"""What is replaced in the script of a claim that reads no breakers."""


@dataclass(frozen=True)
class Pool:
    """The queues of one pool: three for each model, each model at two backends that have a key, or several, and limits,
    or none. With `cards` all backends are on one card, which has three models in memory, which have slots of their
    own. `free`: its models cost nothing, so that no budget counts their calls."""

    queues: int
    shares: bool = True
    more_keys: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    free: bool = False
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
        names = () if self.free else tuple(budget.name for budget in self.budgets)
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
        filled = self.filled_model
        ours = [f"{capacity.name}/{name}" for queue in self.subscriptions() for capacity in queue.backends
                if (name := queue.queue.split(".")[1]) != filled]  # fmt: skip
        return [*dict.fromkeys(ours), *(f"far/other-{n}" for n in range(count))][:count]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: a pool, what there is beside its jobs, and what it may cost at most more than the base, in µs
    on the reference machine (None: no limit). `changes`: to the script of its claims, parts and what replaces
    them."""

    name: str
    open_breakers: int = 0
    batch_jobs: int = 0
    changes: tuple[tuple[str, str], ...] = ()
    most_us: float | None = None
    shares: bool = True
    more_keys: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    free: bool = False
    cards: bool = False

    def pool(self, queues: int) -> Pool:
        return Pool(queues, self.shares, self.more_keys, self.rates, self.budgets, self.free, self.cards)


BASE = Variant(name="all is well")
YARDSTICK = Variant(name="fixed work more", changes=(ADDED_WORK,))
VARIANTS = (
    YARDSTICK,
    Variant(name="all is well, again"),
    Variant(name="without breakers", changes=WITHOUT_BREAKERS),
    Variant(name="without shares", shares=False),
    Variant(name="1 breaker open", open_breakers=1),
    Variant(name="20 breakers open", open_breakers=20),
    Variant(name="batch kept waiting", batch_jobs=100),
    Variant(name="three keys", more_keys=("4e5f", "6a7b")),
    Variant(name="limits of requests and tokens", rates=RATES),
    Variant(name="three budgets", budgets=BUDGETS, most_us=15.0),
    Variant(name="three budgets, free models", budgets=BUDGETS, free=True, most_us=NOTHING_US),
    Variant(name="models on cards", cards=True, most_us=10.0),
)
"""One is the base itself: what it costs more is the error of the measurement."""
