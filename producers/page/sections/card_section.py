"""Graphics cards: what is in the memory of each now and was in the last day, and which models could be loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.memory_line import HEIGHT, WIDTH, MemoryLine, memory_line
from openfall.router_core.state.card_memory import DAY_SECONDS, MemoryUse
from openfall.router_core.state.card_status import CardStatus, ModelShown
from openfall.router_core.state.keys import model_of
from openfall.router_core.vocabulary import LoadState

TONES = {
    LoadState.IN_USE: "good", LoadState.READY: "good", LoadState.LOADING: "warn", LoadState.CLOSING: "warn",
    LoadState.ERROR: "bad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryBar:
    """A part of the memory of a card. `x` and `width` are in the units of the drawing."""

    label: str
    gb: float
    x: float
    width: float
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class CardRow:
    """`line`: the memory over time; None: not known. `waiting`: the jobs that wait for each model of the card.
    `loadable`: those that are not in its memory, each with its waiting jobs."""

    card: CardStatus
    total_gb: float
    bars: tuple[MemoryBar, ...]
    line: MemoryLine | None
    waiting: Mapping[str, int]
    loadable: tuple[tuple[str, int], ...]

    @property
    def summary(self) -> str:
        return describe_use(self.card)

    @staticmethod
    def tone(model: ModelShown) -> str:
        return TONES.get(model.load_state, "")


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    cards, memory, span_seconds = snapshot.sources.get("cards", ((), {}, DAY_SECONDS))
    waiting = Counter[str]()  # of the same reading as the grid of queues
    for queue in snapshot.status.queues:
        waiting[model_of(queue.name)] += queue.waiting
    lines = {card.card: line_of(card, memory.get(card.card, ()), span_seconds, snapshot.now) for card in cards}
    return {
        "rows": [_row(card, lines[card.card], waiting) for card in cards],
        "width": WIDTH,
        "height": HEIGHT,
    }


def describe_use(card: CardStatus) -> str:
    """`18.0 of 24 GB in use`; without its driver what models use."""
    total = card.total_gb or card.vram_gb
    if card.used_gb is None:
        return f"{total:g} GB, use not known"
    if not card.total_gb:
        return f"models use {card.used_gb:.1f} of {total:g} GB"
    return f"{card.used_gb:.1f} of {total:g} GB in use"


def line_of(card: CardStatus, memory: Sequence[MemoryUse], span_seconds: float, now: float) -> MemoryLine | None:
    """The memory of a card over time, against all that it has."""
    return memory_line(memory, card.total_gb or card.vram_gb, span_seconds, now)


def _row(card: CardStatus, line: MemoryLine | None, waiting: Mapping[str, int]) -> CardRow:
    total = card.total_gb or card.vram_gb
    resident = {model.model for model in card.models}
    own = {model: waiting[model] for model in card.waiting}
    loadable = sorted((item for item in own.items() if item[0] not in resident), key=lambda item: -item[1])
    return CardRow(
        card=card,
        total_gb=total,
        bars=_bars(card, total),
        line=line,
        waiting=own,
        loadable=tuple(loadable),
    )


def _bars(card: CardStatus, total: float) -> tuple[MemoryBar, ...]:
    parts = [(model.model, model.gb, False) for model in card.models if model.gb]
    parts += [("others", card.foreign_gb, True)] if card.foreign_gb else []
    bars, x = [], 0.0
    for label, gb, is_foreign in parts:
        width = min(WIDTH - x, WIDTH * gb / total) if total else 0.0
        bars.append(MemoryBar(label, gb, x, width, is_foreign))
        x += width
    return tuple(bars)
