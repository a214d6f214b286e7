"""What the placement of models depends on: facts of models, demand, and the cards as they are. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from openfall.router_core.vocabulary import Urgency

INTERACTIVE, BACKGROUND, BATCH = range(len(Urgency))
"""The position of an urgency in `Urgency`: the most urgent is the smallest number."""
NEVER = float("inf")
LONG_AGO = -NEVER


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as measured: its memory, the time of a load, concurrent calls, the time of a call. `keep_warm_seconds`:
    how long it stays, idle, for callers who are more urgent than a batch. None: see `KEEP_WARM_SECONDS`."""

    vram_gb: float
    load_seconds: float
    slots: int
    call_seconds: float
    pinned: bool = False
    keep_warm_seconds: float | None = None
    preload: bool = False
    """Loaded without a job, where that displaces nothing."""
    expected_minutes: float = 0.0
    """In how many minutes of the next hour people will use it, by the weeks before."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The jobs of one urgency that wait for one model. `oldest_at`: when the first was accepted. `due_at`: when it
    should start at the latest."""

    model: str
    urgency: int
    count: int
    oldest_at: float
    due_at: float


@dataclass(frozen=True, slots=True)
class CallInFlight:
    """A call of a resident model. `was_put_back`: its job was put back before."""

    id: str
    urgency: int
    elapsed_seconds: float
    was_put_back: bool = False


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """A model in the memory of a card, or on its way there (`ready` is False; then `ready_at` is expected).

    `last_used`: by urgency, when a call last began or ended. `unused`: no call has begun since it was ready.
    `protected_until`: it got its place by its share of the card's time, and keeps it until then. `unload_ordered`: an
    operator wants it out."""

    model: str
    ready: bool
    ready_at: float
    last_used: tuple[float, ...] = (LONG_AGO,) * len(Urgency)
    calls: tuple[CallInFlight, ...] = ()
    unused: bool = False
    protected_until: float = LONG_AGO
    unload_ordered: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card. `vram_gb`: the memory that openfall may use. `max_models`: how many its engine holds at once.
    `served_at`: when a call of a model last began there, also of models that have left. `refused_until`: models whose
    load failed there. `recent_loads`: when each load began, and its seconds."""

    name: str
    vram_gb: float
    resident: tuple[ResidentModel, ...] = ()
    switching: bool = False
    max_models: int = 99
    served_at: Mapping[str, float] = field(default_factory=dict)
    refused_until: Mapping[str, float] = field(default_factory=dict)
    recent_loads: tuple[tuple[float, float], ...] = ()
    models: frozenset[str] | None = None
    """The models that its engines have. None: any."""
    beside: float = 1.0
    """The free memory that a load beside other models needs, as a multiple of the model's."""
    kept_out: frozenset[str] = frozenset()
    """Models that an operator has unloaded: they are not preloaded."""


@dataclass(frozen=True, slots=True)
class CardsView:
    """Everything that the placement depends on. `shares`: of a card's time, by urgency."""

    facts: Mapping[str, ModelFacts]
    demands: tuple[Demand, ...]
    cards: tuple[Card, ...]
    shares: tuple[float, ...] = (0.0, 0.1, 0.05)


@dataclass(frozen=True, slots=True)
class CardPlan:
    """What a card does now.

    `admitted`: for each model the least urgent jobs that may be called. `load` and `evict`: the switch to make now.
    `protected_seconds`: how long the loaded model keeps its place. `draining`: models that get no new call and are
    evicted when their calls have ended. `put_back`: calls to stop, whose jobs wait again. `next_model`: the model that
    is loaded next, if one is. `check_at`: plan again then at the latest. `reason` is for people."""

    admitted: Mapping[str, int]
    load: str | None = None
    evict: tuple[str, ...] = ()
    protected_seconds: float = 0.0
    draining: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    next_model: str | None = None
    check_at: float = NEVER
    reason: str = ""
