"""A program loads a model ahead, as `openfall models load` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openfall import AsyncOpenfall, ModelLoad, Openfall, UnknownName
from openfall.config import LoadedConfig, load
from openfall.router_core.state.model_status import fetch_model_status
from tests.fakes.ollama import FakeModel, ollama_fake

CONFIG = """
backends:
  tower: {protocol: ollama, url: "TOWER", pool: gpu, keep_in_memory: 1h}
  api: {url: "http://127.0.0.1:9", pool: cloud}
models:
  coder: {upstream: qwen, backends: [tower]}
  gone: {upstream: not-pulled, backends: [tower]}
  gpt: {upstream: gpt-1, backends: [api]}
roles: {chat: {chain: [coder]}}
"""
NOWHERE = "http://127.0.0.1:9"


def configured(home: Path, tower: str, redis_url: str) -> LoadedConfig:
    file = home / "openfall.yaml"
    file.write_text(f"redis: {redis_url}\n{CONFIG.replace('TOWER', tower)}")
    return load(file, environ={}, cwd=home)


def test_a_program_loads_a_model_ahead_and_the_fleet_knows(tmp_path: Path, redis_url: str) -> None:
    async def main() -> None:
        async with ollama_fake(NOWHERE, [FakeModel("qwen")]) as fake:
            config = configured(tmp_path, fake.url, redis_url)
            async with AsyncOpenfall(config=config) as llm:
                loads = await llm.load_model("coder")
                assert loads == [ModelLoad(model="coder", backend="tower", ok=True, message="is in memory")]
                assert [runner.keep for runner in fake.memory.present()] == [3600]
                rows = await fetch_model_status(llm.store.connection, config.catalog)
                assert [row.backends[0].load_state for row in rows if row.model == "coder"] == ["ready"]
                (failed,) = await llm.load_model("gone", backend="tower")
                assert not failed.ok
                assert "not-pulled" in failed.message
                with pytest.raises(UnknownName, match="Did you mean"):
                    await llm.load_model("coderr")

    asyncio.run(main())


def test_the_blocking_client_does_the_same_also_without_redis(tmp_path: Path) -> None:
    config = configured(tmp_path, NOWHERE, "redis://127.0.0.1:1")
    with Openfall(config=config) as llm:
        (ready,) = llm.load_model("gpt")
        assert (ready.ok, ready.message) == (True, "keeps its models ready: there is nothing to load")
        (failed,) = llm.load_model("coder")
        assert not failed.ok
