"""`openfall models`: how every model is, and an operator's word on where it is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import redis

from openfall.config import load
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.external_calls import ExternalCall, report_external_call
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import ErrorClass
from tests.fakes.ollama import FakeModel, ollama_fake
from tests.producers.cli.conftest import Run
from tests.producers.cli.endpoints import beside, endpoint

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}, cloud: {}}
backends:
  tower: {protocol: ollama, url: "TOWER", pool: gpu}
  api: {protocol: openai, url: "API", pool: cloud}
models:
  small: {upstream: smollm2, backends: [tower], context: 2k, vram_gb: 1}
  gone: {upstream: not-pulled, backends: [tower]}
  gpt: {upstream: gpt-1, backends: [api], usd_per_mtok: {in: 2, out: 8}}
roles: {chat: {chain: [small, gpt]}}
"""


def configured(tmp_path: Path, tower: str = "http://127.0.0.1:9", api: str = "http://127.0.0.1:9") -> str:
    path = tmp_path / "models.yaml"
    path.write_text(CONFIG.replace("TOWER", tower).replace('"API"', f'"{api}"'))
    return str(path)


def stages(ran: subprocess.CompletedProcess[str]) -> dict[str, str]:
    models = json.loads(ran.stdout)
    assert not any("load_state" in at for model in models for at in model["at"])
    return {model["model"]: model["at"][0]["state"] for model in models}


def test_a_model_is_loaded_and_unloaded_and_the_fleet_knows_at_once(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with ollama_fake("http://127.0.0.1:9", [FakeModel("smollm2")]) as fake:
            config = configured(tmp_path, tower=fake.url)
            assert stages(await run("models", "--json", "--config", config))["small"] == "unknown"
            ran = await run("models", "load", "small", "--config", config)
            assert (ran.returncode, ran.stdout) == (0, "small@tower is in memory\n")
            assert stages(await run("models", "--json", "--config", config))["small"] == "ready"
            ran = await run("models", "unload", "small", "--config", config)
            assert ran.stdout == "small@tower is no longer in memory\n"
            assert stages(await run("models", "--json", "--config", config))["small"] == "not_loaded"
            ran = await run("models", "load", "gone", "--config", config)
            assert ran.returncode == 1
            assert "gone@tower: load failed: HTTP 404: model 'not-pulled' not found" in ran.stdout

    beside(story, openfall)


def test_an_endpoint_that_has_all_its_models_ready_needs_no_load_and_cannot_unload(
    openfall: Run, tmp_path: Path
) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["gpt-1"]) as api:
            config = configured(tmp_path, api=api)
            ran = await run("models", "load", "gpt", "--config", config)
            assert (ran.returncode, ran.stdout) == (
                0,
                "gpt@api keeps its models ready: there is nothing to load\n",
            )
            ran = await run("models", "unload", "gpt", "--config", config, "--json")
            assert ran.returncode == 1
            assert json.loads(ran.stdout)["ok"] is False

    beside(story, openfall)


def test_a_model_that_answers_a_check_is_probed_now_unless_an_operator_holds_it_open(
    openfall: Run, redis_url: str, tmp_path: Path
) -> None:
    async def tripped(catalog: Catalog) -> None:
        async with RedisConnection(redis_url) as link:
            await report_external_call(
                link, catalog, ExternalCall(model="gpt", backend="api", error=ErrorClass.NO_VRAM)
            )

    async def due() -> tuple[float | None, float | None]:
        async with RedisConnection(redis_url) as link:
            (breaker,) = await list_breakers(link)
            return breaker.until, breaker.forced_until

    async def story(run: Any) -> None:
        async with endpoint(["gpt-1"]) as api:
            config = configured(tmp_path, api=api)
            catalog = load(Path(config)).catalog
            await tripped(catalog)
            opened, _ = await due()
            assert (await run("models", "check", "gpt", "--force", "--config", config)).returncode == 0
            assert (await due())[0] < opened
            await run("breakers", "force-open", "api/gpt", "--for", "10m", "--config", config)
            held = await due()
            await run("models", "check", "gpt", "--force", "--config", config)
            assert await due() == held

    beside(story, openfall)


def test_a_check_is_remembered_for_the_fleet_and_not_made_twice_in_a_moment(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["gpt-1"]) as api:
            config = configured(tmp_path, api=api)
            first = json.loads((await run("models", "check", "gpt", "--json", "--config", config)).stdout)
            assert (first["ok"], first["how"]) == (True, "alive")  # an answer would cost money
            forced = json.loads((await run("models", "check", "gpt", "--force", "--json", "--config", config)).stdout)
            assert (forced["ok"], forced["how"]) == (True, "prompted")
        again = json.loads((await run("models", "check", "gpt", "--json", "--config", config)).stdout)
        assert (again["ok"], again["how"], again["at"]) == (True, "prompted", forced["at"])
        assert 0 <= again["age"] <= 30
        shown = (await run("models", "check", "gpt", "--config", config)).stdout
        assert re.fullmatch(r"gpt@api answered the test prompt in \d+\.\ds \(.+ ago\)\n", shown)
        assert stages(await run("models", "--json", "--config", config))["gpt"] == "ready"

    beside(story, openfall)


def test_a_model_that_is_not_well_is_shown_so_and_passed_over(openfall: Run, tmp_path: Path) -> None:
    config = configured(tmp_path)
    ran = openfall("models", "check", "gpt", "--config", config)
    assert ran.returncode == 1
    assert "gpt@api is not healthy (alive): " in ran.stdout
    assert stages(openfall("models", "--json", "--config", config))["gpt"] == "error"
    shown = openfall("resolve", "gpt", "--explain", "--config", config).stdout
    assert "its health check failed" in shown


def test_a_load_under_way_is_shown_and_not_begun_a_second_time(openfall: Run, redis_url: str, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with ollama_fake("http://127.0.0.1:9", [FakeModel("smollm2")]) as fake:
            config = configured(tmp_path, tower=fake.url)
            with redis.Redis.from_url(redis_url) as store:
                store.set("of:lock:loading:tower/small", 1, ex=60)
            assert stages(await run("models", "--json", "--config", config))["small"] == "loading"
            ran = await run("models", "load", "small", "--config", config)
            assert ran.stdout == "small@tower is already being loaded\n"
            assert not [path for path, _ in fake.calls_received if path == "/api/generate"]

    beside(story, openfall)


def test_without_a_worker_a_model_of_a_card_is_loaded_by_the_command_and_a_pin_is_kept_for_it(
    openfall: Run, redis_url: str, tmp_path: Path
) -> None:
    async def story(run: Any) -> None:
        async with ollama_fake("http://127.0.0.1:9", [FakeModel("smollm2")]) as fake:
            config = configured(tmp_path, tower=f'{fake.url}", vram_gb: 16, card: "tower')
            ran = await run("models", "load", "small", "--config", config)
            assert (ran.returncode, ran.stdout) == (0, "small@tower is in memory\n")
            ran = await run("models", "pin", "small", "--config", config)
            assert ran.stdout == "small@tower never leaves its card once a worker of its pool runs\n"
            with redis.Redis.from_url(redis_url) as store:
                assert store.hkeys("of:card-orders:tower") == [b"pin small"]

    beside(story, openfall)


def test_models_that_an_endpoint_has_and_the_file_does_not_are_listed_and_marked(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with ollama_fake("http://127.0.0.1:9", [FakeModel("smollm2"), FakeModel("qwen3:4b")]) as fake:
            config = configured(tmp_path, tower=fake.url)
            await run("models", "load", "small", "--config", config)
            shown = json.loads((await run("models", "--json", "--config", config)).stdout)
            assert [model["model"] for model in shown if model["configured"]] == ["small", "gone", "gpt"]
            assert [model for model in shown if not model["configured"]] == [
                {
                    "model": None, "configured": False, "upstream": "qwen3:4b", "pool": "gpu", "local": True,
                    "at": [{"state": "not_loaded", "backend": "tower"}],
                }
            ]  # fmt: skip
            lines = (await run("models", "--config", config)).stdout.splitlines()
            assert "qwen3:4b@tower: not_loaded, not in the configuration" in lines

    beside(story, openfall)


def test_a_refused_load_shows_as_error_with_the_reason(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with ollama_fake("http://127.0.0.1:9", [FakeModel("smollm2", fault="oom")]) as fake:
            config = configured(tmp_path, tower=fake.url)
            assert (await run("models", "load", "small", "--config", config)).returncode == 1
            assert stages(await run("models", "--json", "--config", config))["small"] == "error"
            shown = (await run("models", "--config", config)).stdout
            assert "its last load failed: HTTP 500" in shown

    beside(story, openfall)


def test_without_redis_a_model_is_looked_after_all_the_same(openfall: Run, tmp_path: Path) -> None:
    async def story(run: Any) -> None:
        async with endpoint(["gpt-1"]) as api:
            config = configured(tmp_path, api=api)
            assert (await run("models", "check", "gpt", "--config", config, url="")).returncode == 0
            assert (await run("models", "--config", config, url="redis://127.0.0.1:1")).returncode == 3

    beside(story, openfall)


def test_what_waits_for_a_model_and_what_it_may_cost_stand_beside_it(openfall: Run, tmp_path: Path) -> None:
    config = configured(tmp_path)
    openfall("enqueue", "-m", "small", "-u", "batch", "--config", config, stdin="later")
    shown = openfall("models", "--config", config).stdout
    rows = {row.split()[0]: row for row in shown.splitlines() if row.strip()}
    assert "1 batch" in rows["small"]
    assert "1 GB" in rows["small"]
    assert "2+8" in rows["gpt"]


def test_an_unknown_model_or_backend_gives_the_nearest_name(openfall: Run, tmp_path: Path) -> None:
    config = configured(tmp_path)
    for args in (("load", "smal"), ("check", "smal"), ("check", "small", "--backend", "twr")):
        ran = openfall("models", *args, "--config", config)
        assert ran.returncode == 2
        assert "Did you mean" in ran.stderr
