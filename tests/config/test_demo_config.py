"""The demo configuration: two engines on this machine, and roles that use both."""

from __future__ import annotations

from pathlib import Path

import pytest

from openfall import config
from openfall.config import LoadedConfig
from openfall.config.paths import DEMO
from openfall.config.settings import EngineSettings
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.route import route
from tests.config.config_texts import load_text


@pytest.fixture
def demo(tmp_path: Path) -> LoadedConfig:
    return config.load(DEMO, environ={}, cwd=tmp_path)


def test_two_engines_run_on_this_machine_and_nothing_leaves_it(demo: LoadedConfig) -> None:
    backends = demo.catalog.backends
    assert {name: backend.url for name, backend in backends.items()} == {
        "engine-a": "http://127.0.0.1:8391",
        "engine-b": "http://127.0.0.1:8392",
    }
    assert all(backend.embedded and backend.slots == 2 for backend in backends.values())
    assert all(demo.catalog.pools[backend.pool].local for backend in backends.values())
    assert set(demo.settings.engines.values()) == {EngineSettings(model="smollm2", context=2048, threads=1, parallel=2)}
    assert demo.settings.redis.url is None


def test_its_ports_can_be_moved(tmp_path: Path) -> None:
    environ = {"OPENFALL_ENGINE_A_PORT": "9001", "OPENFALL_ENGINE_B_PORT": "9002"}
    backends = config.load(DEMO, environ=environ, cwd=tmp_path).catalog.backends
    assert [backend.url[-4:] for backend in backends.values()] == ["9001", "9002"]


def test_every_role_has_a_second_engine_to_fall_back_to(demo: LoadedConfig) -> None:
    assert {frozenset(role.chain) for role in demo.catalog.roles.values()} == {frozenset({"smol-a", "smol-b"})}


@pytest.mark.parametrize(
    ("role", "queue"),
    [
        ("dialogue", "gpu.smol-a.interactive"),
        ("scene", "gpu.smol-b.background"),
        ("translate", "gpu.smol-b.batch"),
    ],
)
def test_a_role_leads_to_its_queue(demo: LoadedConfig, role: str, queue: str) -> None:
    assert route(demo.catalog, lambda urgency: FleetState(), RouteRequest(target=role)).queue == queue


def test_the_demo_file_calls_its_model_a_toy() -> None:
    assert "TOY" in DEMO.read_text(encoding="utf-8").partition("\nredis:")[0]


def test_its_dump_means_the_same(demo: LoadedConfig, tmp_path: Path) -> None:
    again = load_text(tmp_path, config.dump(demo))
    assert (again.catalog, again.settings.engines) == (demo.catalog, demo.settings.engines)
