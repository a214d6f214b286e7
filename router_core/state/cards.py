"""The graphics cards of a pool in Redis: the one worker that decides about them, its view, and its writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state import keys
from openfall.router_core.state.card_state import (
    CardState,
    MeasuredModel,
    pack_card_state,
    pack_measured,
    read_card_state,
    read_measured,
)
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.state.urgent_write import urgent_command
from openfall.router_core.vocabulary import Urgency

MANAGER_LEASE_SECONDS = 10.0
"""How long a worker manages the cards of its pool without renewing it."""


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """The jobs of one queue of a model on a card. Times are epoch seconds."""

    model: str
    urgency: Urgency
    count: int
    oldest_at: float
    deadline: float


@dataclass(frozen=True, slots=True)
class CallOnCard:
    """A call in flight at a backend of a card."""

    backend: str
    job: str
    token: str
    model: str
    urgency: Urgency
    since: float
    was_put_back: bool


@dataclass(slots=True)
class CardRecord:
    """A card as it was read. `orders`: of operators, (verb, model) -> when. `used`: (model, urgency) -> last use."""

    name: str
    version: int
    state: CardState
    orders: Mapping[tuple[str, str], float] = field(default_factory=dict)
    used: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CardsSnapshot:
    """Everything that the manager of a pool's cards decides by."""

    epoch: int
    now: float
    waiting: tuple[WaitingJobs, ...]
    calls: tuple[CallOnCard, ...]
    cards: tuple[CardRecord, ...]
    unmet: Mapping[str, tuple[float, ...]]
    measured: Mapping[str, MeasuredModel]


@dataclass(frozen=True, slots=True)
class CardWrite:
    """A new state of a card. `idle`: models that are about to be unloaded. `wake`: queues that are open now."""

    record: CardRecord
    admitted: Mapping[str, int]
    idle: Sequence[str] = ()
    wake: Sequence[str] = ()
    done: Sequence[str] = ()


def managed_models(catalog: Catalog, pool: str) -> dict[str, tuple[str, ...]]:
    """The models of a pool that are on cards, each with its backends that have one."""
    return {
        alias: backends
        for alias in catalog.models_of(pool)
        if not catalog.models[alias].passed_on
        and (backends := tuple(name for name in catalog.models[alias].backends if catalog.card_of(name)))
    }


class CardStore:
    """The cards of one pool, for one worker."""

    def __init__(self, link: RedisConnection, catalog: Catalog, pool: str, worker: str) -> None:
        self.models = managed_models(catalog, pool)
        self.backends: dict[str, str] = {
            name: card for backends in self.models.values() for name in backends if (card := catalog.card_of(name))
        }
        """The card of each backend."""
        self.link = link
        self._who = {"pool": pool, "worker": worker}
        self._queues = {alias: [catalog.queue(alias, urgency) for urgency in Urgency] for alias in self.models}

    async def fetch(self) -> CardsSnapshot | None:
        """The view of the manager, and its lease renewed. None: another worker is the manager."""
        arguments = {
            **self._who,
            "lease_ms": int(MANAGER_LEASE_SECONDS * 1000),
            "cards": sorted(set(self.backends.values())),
            "backends": [{"name": name, "card": card} for name, card in self.backends.items()],
            "models": [
                {"model": alias, "backends": backends, "queues": self._queues[alias]}
                for alias, backends in self.models.items()
            ],
        }
        epoch, now, demands, calls, cards, unmet, measured = await self.link.script("card_view", arguments)
        if not epoch:
            return None
        with self.link.notes.reading(keys.MODEL_FACTS):
            facts = {read_text(measured[i]): read_measured(measured[i + 1]) for i in range(0, len(measured), 2)}
        return CardsSnapshot(
            epoch,
            read_moment(now),
            tuple(_waiting(row) for row in demands),
            tuple(_call(row) for row in calls),
            tuple(_record(self.link, row) for row in cards),
            {read_text(model): tuple(map(read_moment, times)) for model, times in unmet},
            facts,
        )

    async def write(self, epoch: int, change: CardWrite) -> str:
        """Write the state of a card: 'written', 'fenced' (another worker is the manager now), 'changed' (since it was
        read) or 'busy' (a call of an idle model is in flight)."""
        record = change.record
        arguments = {
            **self._who,
            "epoch": epoch,
            "card": record.name,
            "version": record.version,
            "admitted": list(change.admitted.items()),
            "idle": change.idle,
            "backends": [name for name, card in self.backends.items() if card == record.name],
            "wake": change.wake,
            "done": change.done,
        }
        outcome, version = await self.link.script("card_write", arguments, pack_card_state(record.state))
        if read_text(outcome) == "written":
            record.version = read_number(version)
        return read_text(outcome)

    async def put_back(self, epoch: int, calls: Iterable[CallOnCard], why: str) -> list[str]:
        """Put the jobs of these calls back into their queues. Returns those that were."""
        rows = [(call.job, call.token, call.backend) for call in calls]
        arguments = {**self._who, "epoch": epoch, "calls": rows, "why": why}
        return [read_text(job) for job in await self.link.script("card_put_back", arguments)]

    async def note_measured(self, target: str, measured: MeasuredModel) -> None:
        """Remember what was measured of a model at a backend."""
        await urgent_command(self.link, "HSET", keys.MODEL_FACTS, target, pack_measured(measured))

    async def release(self) -> None:
        """Stop being the manager."""
        await self.link.script("card_release", self._who)

    def queues_of(self, alias: str, least_urgent: int) -> list[str]:
        """The queues of a model that are as urgent."""
        return self._queues[alias][: least_urgent + 1]


def _waiting(row: list[Any]) -> WaitingJobs:
    queue = read_text(row[0])
    model, urgency = keys.model_of(queue), _urgency_of(queue)
    return WaitingJobs(model, urgency, read_number(row[1]), read_moment(row[2]), read_moment(row[3]))


def _urgency_of(queue: str) -> Urgency:
    """The urgency of a queue. One of a newer openfall is served last."""
    word = queue.rpartition(".")[2]
    return Urgency(word) if word in set(Urgency) else Urgency.BATCH


def _call(row: list[Any]) -> CallOnCard:
    backend, job, token, queue = map(read_text, row[:4])
    urgency = _urgency_of(queue)
    return CallOnCard(backend, job, token, keys.model_of(queue), urgency, read_moment(row[4]), bool(row[5]))


def _record(link: RedisConnection, row: list[Any]) -> CardRecord:
    name, version, state, orders, used = row
    card = read_text(name)
    with link.notes.reading(keys.CARD + card):
        known, number = read_card_state(state), read_number(version)
    with link.notes.reading(keys.CARD_ORDERS + card):
        ordered = _moments(orders)
    with link.notes.reading(keys.CARD_USED + card):
        in_use = _moments(used)
    return CardRecord(card, number, known, ordered, in_use)


def _moments(reply: list[bytes]) -> dict[tuple[str, str], float]:
    pairs = ((read_text(reply[i]).partition(" "), read_moment(reply[i + 1])) for i in range(0, len(reply), 2))
    return {(first, second): moment for (first, _, second), moment in pairs}


async def fetch_cards(link: RedisConnection, names: Iterable[str]) -> dict[str, CardState]:
    """The state of these cards, for people and for routing."""
    cards = {}
    for name in names:
        packed = await link.command("HGET", keys.CARD + name, "state")
        with link.notes.reading(keys.CARD + name):
            cards[name] = read_card_state(packed or b"")
    return cards


@dataclass(frozen=True, slots=True)
class ManagerLease:
    """The worker that manages the cards of a pool, and until when unless it renews that (epoch seconds)."""

    worker: str
    until: float


async def fetch_card_manager(link: RedisConnection, pool: str) -> ManagerLease | None:
    """The manager of the cards of a pool, also one whose lease is over; None: there was none."""
    worker, until = await link.command("HMGET", keys.CARD_MANAGER + pool, "worker", "until")
    with link.notes.reading(keys.CARD_MANAGER + pool):
        return None if worker is None or until is None else ManagerLease(read_text(worker), read_moment(until))


async def is_managed(link: RedisConnection, pool: str) -> bool:
    """Whether a worker manages the cards of a pool now."""
    now, manager = await fetch_server_time(link), await fetch_card_manager(link, pool)
    return manager is not None and manager.until > now


async def give_order(link: RedisConnection, card: str, verb: str, model: str) -> None:
    """Order the manager of a card to load, unload, pin or unpin a model."""
    now_ms = int(await fetch_server_time(link) * 1000)
    await urgent_command(link, "HSET", keys.CARD_ORDERS + card, f"{verb} {model}", now_ms)


async def pending_order(link: RedisConnection, card: str, verb: str, model: str) -> bool:
    """Whether an order is not carried out yet."""
    return await link.command("HGET", keys.CARD_ORDERS + card, f"{verb} {model}") is not None
