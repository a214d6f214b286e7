"""Graphics cards: what is in the memory of each now and was in the last hours, and which models could be loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.card_memory import MemoryUse
from openfall.router_core.state.card_status import CardStatus, ModelShown
from openfall.router_core.vocabulary import LoadState

SPAN_SECONDS = 6 * 3600.0
"""Of the line of memory over time."""
WIDTH, HEIGHT = 600.0, 40.0
"""Of the drawings, in their own units."""
MAX_POINTS = 120
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
    """`points`: memory in use over the last hours as points of SVG; empty: not known. `loadable`: models of the card
    that are not in its memory, each with its waiting jobs."""

    card: CardStatus
    total_gb: float
    used_gb: float
    bars: tuple[MemoryBar, ...]
    points: str
    peak_gb: float
    loadable: tuple[tuple[str, int], ...]

    @property
    def summary(self) -> str:
        return f"{self.used_gb:.1f} of {self.total_gb:g} GB in use"

    @staticmethod
    def tone(model: ModelShown) -> str:
        return TONES.get(model.load_state, "")


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    cards, memory = snapshot.sources.get("cards", ((), {}))
    return {
        "rows": [_row(card, memory.get(card.card, ()), snapshot.now) for card in cards],
        "width": WIDTH,
        "height": HEIGHT,
    }


def _row(card: CardStatus, memory: Sequence[MemoryUse], now: float) -> CardRow:
    total = card.total_gb or card.vram_gb
    resident = {model.model for model in card.models}
    loadable = sorted((item for item in card.waiting.items() if item[0] not in resident), key=lambda item: -item[1])
    return CardRow(
        card=card,
        total_gb=total,
        used_gb=sum(model.gb for model in card.models) + card.foreign_gb,
        bars=_bars(card, total),
        points=_points(memory, total, now),
        peak_gb=max((use.peak_gb for use in memory), default=0.0),
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


def _points(memory: Sequence[MemoryUse], total: float, now: float) -> str:
    """`x,y x,y ...`: of several periods in the width of one point the last."""
    if not total or len(memory) < 2:
        return ""
    step = max(1, len(memory) // MAX_POINTS)
    shares = [(use.at, min(1.0, (use.models_gb + use.others_gb) / total)) for use in memory[::step]]
    return " ".join(
        f"{WIDTH * max(0.0, 1 - (now - at) / SPAN_SECONDS):.1f},{HEIGHT * (1 - share):.1f}" for at, share in shares
    )
