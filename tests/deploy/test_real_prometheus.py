"""A real Prometheus scrapes a real fleet. It runs where Prometheus is installed."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.server import find_free_port
from tests.deploy.test_monitoring import expressions
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run

ROOT = Path(__file__).resolve().parents[2]
SELECTOR = re.compile(r"\b(?:openfall|rq)_[a-z0-9_]+(?:\{[^}]*\})?")
COMPARED_WITH_A_NUMBER = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*[\d.e-]+")
pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def test_prometheus_reads_a_fleet_and_evaluates_every_rule_and_panel(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            assert (await gateway.chat()).status_code == 200
            address = f"127.0.0.1:{find_free_port()}"
            settings = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
            settings["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
            settings["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.yml")]
            (scrape,) = settings["scrape_configs"]
            (tmp_path / "key").write_text("any: this gateway has no keys\n")
            scrape["authorization"]["credentials_file"] = str(tmp_path / "key")
            scrape["scrape_timeout"] = scrape["scrape_interval"] = "3s"
            scrape["static_configs"][0]["targets"] = [gateway.url.removeprefix("http://")]
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
                async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
                    answered = 'openfall_jobs_total{role="chat",model="tiny",outcome="answered"}'
                    assert await until(http, answered) == "1"
                    assert await until(http, 'up{job="openfall"}') == "1"
                    assert await until(http, "count_over_time(up[1h]) > 1")
                    silent = [f"{place}: {query}" for place, query in expressions() if await is_silent(http, query)]
                    rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
            finally:
                process.terminate()
                await process.wait()
        assert silent == []
        assert not [rule for group in rules for rule in group["rules"] if rule.get("lastError")]

    run(main)


async def is_silent(http: httpx.AsyncClient, expression: str) -> bool:
    """Whether an expression has no result although each of its metrics has one: labels of its parts do not match.

    A comparison with a number is left out, and an expression with another comparison, `unless` or `absent` is not
    judged: with them no result is often right.
    """
    query = re.sub(r"\$(\w+)", lambda name: "1h" if "interval" in name[1] else ".*", expression)
    query = COMPARED_WITH_A_NUMBER.sub("", query)
    if re.search(r"unless|absent|(?<![=!])[<>]|(?<![=!~])=(?![=~\"])", query):
        return False
    parts = [await rows(http, part) for part in SELECTOR.findall(query)]
    return all(parts) and not await rows(http, query)


async def rows(http: httpx.AsyncClient, query: str) -> list[Any]:
    """The rows of the result of a query."""
    answer = (await http.get("/api/v1/query", params={"query": query})).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return list(answer["data"]["result"])


async def until(http: httpx.AsyncClient, query: str) -> Any:
    """The value of a query, once Prometheus has one."""
    while True:
        try:
            series = await rows(http, query)
        except (httpx.HTTPError, ValueError, KeyError):
            series = []
        if series:
            return series[0]["value"][1]
        await asyncio.sleep(0.05)
