"""The state of a graphics card as its manager keeps it in Redis: one JSON object, written as a whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.state.unreadable_notes import note_unreadable

MAX_RECENT_LOADS = 40
MAX_DEPARTURES, DEPARTURES_SECONDS = 3, 600.0
"""This number of models that left by themselves within this time: something else uses the engine of the card."""


CLOCK_SLACK_SECONDS = 1.0
"""A moment that is later than now by more than this is of a clock that has been set back."""


ExpectedStart = tuple[float, float]
"""The earliest time (epoch seconds), and the seconds that the start takes after it, or from now on."""


@dataclass(slots=True)
class ModelOnCard:
    """A model in memory. Times are epoch seconds on the server's clock. `gb` as measured; 0: unknown."""

    backend: str
    ready_at: float
    gb: float = 0.0
    protected_until: float = 0.0
    wanted_at: float = 0.0
    """When it was ready for interactive callers that had gone elsewhere for want of it: it is kept warm for them."""
    loaded_for: str = ""
    """Why it was loaded, for people."""


@dataclass(slots=True)
class Switch:
    """A load or an unload that is being made. `load` empty: models are only unloaded."""

    load: str
    backend: str
    evict: tuple[str, ...]
    since: float
    reason: str
    seconds: float
    """How long it should take."""
    protected_seconds: float = 0.0


@dataclass(slots=True)
class FailedLoad:
    """A load that failed. The model is not tried again before `until`, but on an order."""

    until: float
    seconds: float
    why: str

    @property
    def since(self) -> float:
        """When it failed."""
        return self.until - self.seconds


@dataclass(slots=True)
class CardState:
    """Everything that must outlive the manager of a card."""

    models: dict[str, ModelOnCard] = field(default_factory=dict)
    switch: Switch | None = None
    loads: list[tuple[float, float]] = field(default_factory=list)
    refused: dict[str, FailedLoad] = field(default_factory=dict)
    pinned: dict[str, bool] = field(default_factory=dict)
    """Pinned or unpinned by an operator."""
    foreign_gb: float = 0.0
    """Memory in use by others."""
    total_gb: float = 0.0
    """Memory of the card, as its driver says; 0: unknown."""
    departures: list[float] = field(default_factory=list)
    """When models left the memory by themselves, of late."""
    starts: dict[str, tuple[ExpectedStart | None, ...]] = field(default_factory=dict)
    """For each model by urgency when a job could start. None: never, with these cards."""
    too_large: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Models that do not fit into what others leave: the GB that each needs, and those that are left."""
    kept_out: list[str] = field(default_factory=list)
    """Unloaded by an operator: they are loaded for jobs and on order, and not preloaded."""
    draining: tuple[str, ...] = ()
    reason: str = ""
    """Why the plan is what it is, for people."""

    def keep_true(self, backends: Collection[str], models: Collection[str], now: float) -> None:
        """Forget models that the configuration has no more, and moments that have not been yet: the server's clock has
        been set back, and everything would wait for them."""
        self.models = {
            alias: model for alias, model in self.models.items() if alias in models and model.backend in backends
        }
        latest = now + CLOCK_SLACK_SECONDS
        for model in self.models.values():
            if model.ready_at > latest:
                model.ready_at, model.protected_until = now, 0.0
                model.wanted_at = min(model.wanted_at, now)
        self.refused = {alias: failed for alias, failed in self.refused.items() if failed.since <= latest}
        self.loads = [load for load in self.loads if load[0] <= latest]
        self.departures = [moment for moment in self.departures if moment <= latest]

    def usable_gb(self, configured_gb: float) -> float:
        """The memory that openfall may use: what is configured, and no more than others leave."""
        if not self.total_gb:
            return configured_gb - self.foreign_gb
        return min(configured_gb, self.total_gb - self.foreign_gb)

    def note_departure(self, now: float) -> None:
        """A model left by itself: its engine evicted it, or another program used the card."""
        self.departures = [*self.departures, now][-MAX_DEPARTURES:]

    def has_other_users(self, now: float) -> bool:
        """Whether models left so often that something else must use the engine."""
        return len(self.departures) == MAX_DEPARTURES and now - self.departures[0] <= DEPARTURES_SECONDS

    def starts_in(self, alias: str, now: float) -> list[float] | None:
        """By urgency: the seconds until a job of a model could start, by the last estimate. None: there is none."""
        expected = self.starts.get(alias)
        if expected is None:
            return None
        return [FOREVER if start is None else max(0.0, start[0] - now) + start[1] for start in expected]

    def note_load(self, began_at: float, seconds: float) -> None:
        """Remember a load, for the share of the card's time that loads take."""
        self.loads = [*self.loads, (began_at, seconds)][-MAX_RECENT_LOADS:]


@dataclass(slots=True)
class MeasuredModel:
    """A model on a card, as measured: the seconds of its last loads, and its memory."""

    load_seconds: list[float] = field(default_factory=list)
    gb: float = 0.0


_CARD_STATE: TypeAdapter[CardState] = TypeAdapter(CardState)
_MEASURED: TypeAdapter[MeasuredModel] = TypeAdapter(MeasuredModel)


def pack_card_state(state: CardState) -> bytes:
    return _CARD_STATE.dump_json(state)


def read_card_state(text: bytes) -> CardState:
    """The state of a card. One that cannot be read is empty: its manager asks the engine what is true."""
    try:
        return _CARD_STATE.validate_json(text) if text else CardState()
    except ValidationError:
        note_unreadable("has another shape")
        return CardState()


def pack_measured(model: MeasuredModel) -> bytes:
    return _MEASURED.dump_json(model)


def read_measured(text: bytes) -> MeasuredModel:
    """What was measured of a model; nothing if it cannot be read."""
    try:
        return _MEASURED.validate_json(text)
    except ValidationError:
        note_unreadable("has another shape")
        return MeasuredModel()
