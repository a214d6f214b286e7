"""The memory of graphics cards as their drivers see it, and what openfall concludes from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.placement.cards_view import Card, CardsView, ModelFacts
from openfall.router_core.state.card_state import CardState, MeasuredModel, ModelOnCard, Switch
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.gpu.build_cards_view import too_large
from openfall.workers.gpu.card_contents import BackendContent, CardContents, local_cards, match_devices
from openfall.workers.gpu.card_engine import EngineContent
from openfall.workers.gpu.card_switch import SwitchOutcome, apply_outcome, measured_by
from openfall.workers.gpu.device_memory import DeviceMemory, read_amd, read_device_memory, read_nvidia

GIB = 2**30


class FakeNvml:
    """NVML as `pynvml` calls it: init, count, handles, memory in bytes, shutdown."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *devices: tuple[float, float], lost: bool = False) -> None:
        self.devices, self.lost, self.open = devices, lost, 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[float, float]:  # noqa: N802
        return self.devices[index]

    def nvmlDeviceGetMemoryInfo(self, handle: tuple[float, float]) -> Any:  # noqa: N802
        if self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        total, used = handle
        return SimpleNamespace(total=int(total * GIB), used=int(used * GIB), free=int((total - used) * GIB))


def test_nvidia_cards_are_read_and_the_library_is_closed_each_time():
    nvml = FakeNvml((24, 3), (12, 0.5))
    assert read_nvidia(nvml) == [DeviceMemory(24, 3), DeviceMemory(12, 0.5)]
    assert nvml.open == 0


def test_a_card_that_is_lost_and_a_machine_without_driver_or_package_have_no_memory_to_show():
    lost = FakeNvml((24, 3), lost=True)
    assert not read_nvidia(lost)
    assert lost.open == 0
    assert not read_nvidia(None)
    assert list(read_device_memory()) == list(read_device_memory()), "the real package, with or without a driver"


def test_amd_cards_are_read_from_sysfs_in_the_order_of_their_numbers(tmp_path: Path):
    for card, total, used in (("card10", 8, 1), ("card2", 16, 4)):
        device = tmp_path / card / "device"
        device.mkdir(parents=True)
        (device / "mem_info_vram_total").write_text(f"{total * GIB}\n")
        (device / "mem_info_vram_used").write_text(f"{used * GIB}\n")
    (tmp_path / "card0" / "device").mkdir(parents=True)
    (tmp_path / "card0" / "device" / "mem_info_vram_total").write_text("")
    assert read_amd(tmp_path) == [DeviceMemory(16, 4), DeviceMemory(8, 1)]


@pytest.mark.parametrize(
    ("cards", "totals", "expected"),
    [
        ({"tower": 24.0}, (22.5,), {"tower": 0}),
        ({"big": 24.0, "small": 12.0}, (12, 24), {"big": 1, "small": 0}),
        ({"tower": 24.0}, (24, 24), {}),
        ({"one": 24.0, "two": 24.0}, (24,), {}),
        ({"tower": 24.0}, (12,), {}),
    ],
    ids=["the only one", "by size", "two alike", "two for one", "too small"],
)
def test_a_card_is_the_smallest_device_with_its_memory_and_no_guess_is_made(
    cards: Mapping[str, float], totals: tuple[float, ...], expected: Mapping[str, int]
):
    devices = [DeviceMemory(total, 0) for total in totals]
    assert match_devices(cards, devices) == {card: devices[index] for card, index in expected.items()}


def test_only_an_engine_of_this_machine_is_on_a_card_of_this_machine():
    backends = {
        "here": Backend(url="http://127.0.0.1:11434", protocol="ollama", pool="gpu", vram_gb=24),
        "there": Backend(url="http://10.0.0.7:11434", protocol="ollama", pool="gpu", vram_gb=24),
    }
    assert local_cards(backends, {"here": "here", "there": "there"}) == {"here": 24}


def contents(device: DeviceMemory | None, content: EngineContent) -> CardContents:
    store: Any = SimpleNamespace(backends={"tower": "tower"})
    reader = lambda: [] if device is None else [device]  # noqa: E731
    observed = CardContents(engines={}, store=store, local_cards={"tower": 20.0}, read_memory=reader)
    observed.by_backend["tower"] = BackendContent(content, 0.0)
    asyncio.run(observed.ask_devices())
    return observed


def test_memory_that_another_program_uses_is_not_for_models():
    state = CardState(models={"alpha": ModelOnCard("tower", 0.0, 10.0)})
    contents(DeviceMemory(24, 17), EngineContent({"alpha": 10.0})).adopt_memory("tower", state)
    assert (state.foreign_gb, state.total_gb) == (7.0, 24.0)
    assert state.usable_gb(20.0) == 17.0
    contents(DeviceMemory(24, 12), EngineContent({"alpha": 10.0})).adopt_memory("tower", state)
    assert state.usable_gb(20.0) == 20.0, "what the configuration leaves to others may be used by them"


LISTED = EngineContent({"alpha": 10.0, "beta": 6.0})


@pytest.mark.parametrize(
    ("device", "content", "switching", "noted"),
    [
        (None, LISTED, (), [16.0]),
        (None, EngineContent({}), (), [0.0]),
        (None, LISTED, ("tower",), []),
        (None, EngineContent({"alpha": 10.0, "beta": 0.0}), (), []),
        (None, EngineContent({}, is_away=True), (), []),
        (DeviceMemory(24, 17), LISTED, ("tower",), [17.0]),
        (DeviceMemory(24, 17), EngineContent({}, is_away=True), (), [17.0]),
    ],
    ids=["listed", "empty", "a load", "a size is unknown", "away", "a driver knows", "a driver knows it without"],
)
def test_the_memory_over_time_has_no_sample_where_the_use_is_not_known(
    device: DeviceMemory | None, content: EngineContent, switching: Sequence[str], noted: list[float]
):
    scripts: list[dict[str, Any]] = []

    async def script(_name: str, arguments: dict[str, Any]) -> None:
        scripts.append(arguments)

    observed = contents(device, content)
    observed.store.link = SimpleNamespace(script=script)
    asyncio.run(observed.note_memory(switching))
    assert [arguments["models_mb"] / 1024 for arguments in scripts] == noted


def test_without_a_driver_the_engine_says_what_others_use():
    state = CardState(models={"alpha": ModelOnCard("tower", 0.0, 10.0)})
    contents(None, EngineContent({"alpha": 10.0}, foreign_gb=4.0)).adopt_memory("tower", state)
    assert (state.foreign_gb, state.total_gb, state.usable_gb(20.0)) == (4.0, 0.0, 16.0)


@pytest.mark.parametrize(("grown_gb", "expected"), [(None, 10.0), (11.5, 11.5), (4.0, 10.0), (18.0, 13.0)])
def test_the_size_of_a_model_is_learned_with_its_buffers_but_not_with_another_program(
    grown_gb: float | None, expected: float
):
    switch = Switch("alpha", "tower", (), 0.0, "", 5.0)
    outcome = SwitchOutcome(switch, EngineContent({"alpha": 10.0}), 5.0, None, grown_gb)
    assert measured_by(outcome, MeasuredModel(), 0.0).gb == expected


def test_a_model_that_was_evicted_as_soon_as_it_was_loaded_is_tried_again_soon_and_teaches_nothing_of_its_size():
    state, switch = CardState(), Switch("alpha", "tower", (), 0.0, "", 5.0)
    gone = SwitchOutcome(switch, EngineContent({}), 5.0, Failure(error_class=ErrorClass.NO_VRAM), is_evicted=True)
    apply_outcome(state, gone, 10.0)
    assert (state.refused["alpha"].until, state.departures) == (15.0, [10.0])
    apply_outcome(state, gone, 20.0)
    assert state.refused["alpha"].until == 30.0, "then after twice that"
    assert measured_by(gone, MeasuredModel(gb=4.0), 12.0).gb == 4.0
    assert measured_by(replace(gone, is_evicted=False), MeasuredModel(gb=4.0), 12.0).gb == 12.0, "it did not fit"


def test_a_load_that_failed_because_the_engine_was_away_is_tried_again_within_seconds():
    state, switch = CardState(), Switch("alpha", "tower", (), 0.0, "", 5.0)
    away = SwitchOutcome(switch, EngineContent({}), 0.1, Failure(error_class=ErrorClass.CONNECTION))
    waits = []
    for _ in range(4):
        apply_outcome(state, away, 0.0)
        waits.append(state.refused["alpha"].until)
    assert waits == [2.0, 4.0, 8.0, 8.0]


def test_models_that_leave_by_themselves_three_times_in_ten_minutes_mean_another_user():
    state = CardState()
    for at in (0.0, 100.0):
        state.note_departure(at)
    assert not state.has_other_users(100.0)
    state.note_departure(500.0)
    assert state.has_other_users(500.0)
    assert not state.has_other_users(700.0)


def test_a_model_that_others_leave_no_room_for_is_named_with_what_it_needs():
    facts = {"large": ModelFacts(18, 30, 4, 5), "small": ModelFacts(4, 8, 4, 5), "elsewhere": ModelFacts(18, 30, 4, 5)}
    card = Card("tower", 12.0, models=frozenset({"large", "small"}))
    assert too_large("tower", CardsView(facts, (), (card,))) == {"large": (18, 12.0)}
