"""What the engines of the cards have in memory, asked at intervals; and the memory of the cards over time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.card_memory import note_card_memory
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.cards import CardStore
from openfall.router_core.state.errors import StoreError
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.registry import is_loopback
from openfall.workers.gpu.card_engine import CardEngine, EngineContent
from openfall.workers.gpu.device_memory import DeviceMemory, MemoryReader, read_device_memory

log = logging.getLogger("openfall.cards")

CONTENT_INTERVAL_SECONDS = 5.0
"""How often the engines are asked what they have in memory."""
DEVICE_SHARE = 0.9
"""A driver keeps a part of the memory for itself: a card that is sold with 24 GB may have 22.5."""
FOREIGN_STEP_GB = 1.0
"""An increase of the memory that other programs use is logged from this size on."""


@dataclass(slots=True)
class BackendContent:
    """What the engine of a backend had in memory at a time (monotonic)."""

    content: EngineContent
    asked_at: float


@dataclass(slots=True, kw_only=True)
class CardContents:
    """The answers of the engines, by backend, and the memory of the devices, by card."""

    engines: Mapping[str, CardEngine]
    store: CardStore
    local_cards: Mapping[str, float] = field(default_factory=dict)
    """The cards of this machine, with the GB that the catalog says."""
    read_memory: MemoryReader = read_device_memory
    by_backend: dict[str, BackendContent] = field(default_factory=dict, init=False)
    by_card: dict[str, DeviceMemory] = field(default_factory=dict, init=False)
    _foreign_gb: dict[str, float] = field(default_factory=dict, init=False)

    async def observe(self, is_manager: Callable[[], bool], switching: Container[str]) -> None:
        """Ask at intervals, for ever, while this worker is the manager. `switching`: the cards whose models change."""
        while True:
            await asyncio.sleep(CONTENT_INTERVAL_SECONDS)
            if is_manager():
                await self.ask()
                await self.note_memory(switching)

    async def ask(self) -> None:
        """Ask every engine, and the drivers of the cards."""
        await self.ask_devices()
        for backend, engine in self.engines.items():
            asked_at = time.monotonic()
            content = await engine.content()
            if isinstance(content, Failure):
                if content.error_class is not ErrorClass.CONNECTION and backend in self.by_backend:
                    continue
                content = EngineContent({}, is_away=True)
            self.by_backend[backend] = BackendContent(content, asked_at)

    async def ask_devices(self) -> None:
        """Ask the drivers of the cards of this machine. A driver that does not answer changes nothing."""
        if self.local_cards:
            self.by_card = match_devices(self.local_cards, await asyncio.to_thread(self.read_memory))

    def used_gb(self, card: str) -> float | None:
        """The memory of a card that is in use, by any program. None: its driver says nothing."""
        device = self.by_card.get(card)
        return None if device is None else device.used_gb

    def adopt_memory(self, card: str, state: CardState) -> None:
        """Write into the state of a card what its memory is, and what others use of it."""
        models_gb = sum(model.gb for model in state.models.values())
        foreign_gb = sum(entry.content.foreign_gb for entry in self._entries(card))
        device = self.by_card.get(card)
        if device is not None:
            foreign_gb = max(foreign_gb, device.used_gb - models_gb)
        state.foreign_gb = round(foreign_gb, 1)
        state.total_gb = 0.0 if device is None else round(device.total_gb, 1)
        if state.foreign_gb - self._foreign_gb.get(card, 0.0) >= FOREIGN_STEP_GB:
            log.warning("other programs use %.1f GB of card %s", state.foreign_gb, card)
        self._foreign_gb[card] = state.foreign_gb

    def _entries(self, card: str) -> Iterable[BackendContent]:
        return (entry for name, entry in self.by_backend.items() if self.store.backends[name] == card)

    async def note_memory(self, switching: Container[str]) -> None:
        """Note how much of each card is in use. Where that is not known, nothing is noted."""
        for card in sorted(set(self.store.backends.values())):
            foreign_gb, device = self._foreign_gb.get(card, 0.0), self.by_card.get(card)
            models_gb = None if card in switching else self._listed_gb(card)
            if device is not None:
                models_gb = max(0.0, device.used_gb - foreign_gb)
            if models_gb is None:
                continue
            try:
                total_gb = device.total_gb if device is not None else 0.0
                await note_card_memory(self.store.link, card, models_gb, foreign_gb, total_gb)
            except StoreError as error:
                log.debug("the memory of card %s is not noted: %s", card, error)

    def _listed_gb(self, card: str) -> float | None:
        """What the models of a card use, as its engines list them. None: one is away, or does not say it."""
        contents = [entry.content for entry in self._entries(card)]
        sizes = [gb for content in contents for gb in content.models.values()]
        is_known = contents and all(sizes) and not any(content.is_away for content in contents)
        return sum(sizes) if is_known else None


def local_cards(backends: Mapping[str, Backend], cards: Mapping[str, str]) -> dict[str, float]:
    """The cards with an engine on this machine, by its address, and their GB. `cards`: by backend."""
    return {card: backends[name].vram_gb or 0.0 for name, card in cards.items() if is_loopback(backends[name].url)}


def match_devices(cards: Mapping[str, float], devices: Sequence[DeviceMemory]) -> dict[str, DeviceMemory]:
    """The device of each card: the smallest that has its memory. Where two could be meant, neither is."""
    matched: dict[str, DeviceMemory] = {}
    for card, vram_gb in cards.items():
        fits = sorted(
            (device for device in devices if device.total_gb >= DEVICE_SHARE * vram_gb),
            key=lambda device: device.total_gb,
        )
        if fits and (len(fits) == 1 or fits[1].total_gb > fits[0].total_gb):
            matched[card] = fits[0]
    return {card: device for card, device in matched.items() if sum(other is device for other in matched.values()) == 1}
