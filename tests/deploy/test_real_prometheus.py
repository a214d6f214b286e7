"""A real Prometheus scrapes a real fleet. It runs where Prometheus is installed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.server import find_free_port
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def test_prometheus_reads_a_fleet_and_evaluates_every_rule(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            assert (await gateway.chat()).status_code == 200
            address = f"127.0.0.1:{find_free_port()}"
            settings = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
            settings["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
            settings["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.yml")]
            settings["scrape_configs"][0]["scrape_timeout"] = "3s"
            settings["scrape_configs"][0]["scrape_interval"] = "3s"
            settings["scrape_configs"][0]["static_configs"][0]["targets"] = [gateway.url.removeprefix("http://")]
            file = tmp_path / "prometheus.yml"
            file.write_text(yaml.safe_dump(settings))
            files = ("--config.file", file, "--storage.tsdb.path", tmp_path / "tsdb")
            process = await asyncio.create_subprocess_exec(
                "prometheus",
                *map(str, (*files, "--web.listen-address", address)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with httpx.AsyncClient(base_url=f"http://{address}") as http:
                    answered = 'openfall_jobs_total{role="chat",model="tiny",outcome="answered"}'
                    assert await until(http, answered) == "1"
                    assert await until(http, 'up{job="openfall"}') == "1"
                    rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
            finally:
                process.terminate()
                await process.wait()
        assert not [rule for group in rules for rule in group["rules"] if rule.get("lastError")]

    run(main)


async def until(http: httpx.AsyncClient, query: str) -> Any:
    """The value of a query, once Prometheus has one."""
    while True:
        try:
            rows = (await http.get("/api/v1/query", params={"query": query})).json()["data"]["result"]
        except (httpx.HTTPError, ValueError, KeyError):
            rows = []
        if rows:
            return rows[0]["value"][1]
        await asyncio.sleep(0.05)
