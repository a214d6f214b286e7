"""The pages of the configuration: what it names and is not as it should be, and what is in force."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from openfall.producers.page.shared_readings import SharedReadings
from openfall.router_core.state import keys
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

SECRET = "sk-ant-0123456789abcdefghijklmnop"
CONFIG = f"""
redis: {{redis}}
pools: {{{{gpu: {{{{local: yes}}}}, cloud: {{{{}}}}}}}}
backends:
  rack: {{{{protocol: openai, url: "{{upstream}}", pool: gpu}}}}
  attic: {{{{protocol: ollama, url: "http://127.0.0.1:9", pool: gpu}}}}
  api: {{{{protocol: anthropic, url: "http://127.0.0.1:9", pool: cloud, api_key: {SECRET}}}}}
models:
  tiny: {{{{upstream: tiny-1, backends: [rack]}}}}
  llama: {{{{upstream: "llama3.1:8b", backends: [attic]}}}}
  haiku: {{{{upstream: claude-haiku-4-5, backends: [api], max_tokens: 100}}}}
roles: {{{{chat: {{{{chain: [tiny, llama, haiku]}}}}}}}}
"""


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("preflight"), config=CONFIG) as opened:
        yield opened


@pytest.fixture(autouse=True)
def unchecked(gateway: PageGateway) -> Iterator[Path]:
    """The file of the gateway, which has checked nothing yet; afterwards it is as it was."""
    file = gateway.instance.config.source
    text, times = file.read_text(), file.stat()
    gateway.instance.shared_readings = SharedReadings()
    yield file
    file.write_text(text)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_each_failure_has_its_remedy_and_stands_before_what_is_well(gateway: PageGateway) -> None:
    page = gateway.page("/preflight")
    assert "attic does not answer at http://127.0.0.1:9" in page
    assert "Start it (ollama serve), or correct its url." in page
    assert "no worker of pool gpu" in page
    assert "openfall work gpu" in page
    assert page.index(">failure</span>") < page.index(">ok</span>")
    assert re.search(r"\d of \d+ checks failed", page)


@pytest.mark.parametrize("path", ["/preflight", "/config"])
def test_no_secret_is_shown(gateway: PageGateway, path: str) -> None:
    page = gateway.page(path)
    assert SECRET not in page
    assert "sk-ant-…mnop" in page


def test_reloads_send_no_backend_further_requests(gateway: PageGateway) -> None:
    now = [100.0]
    gateway.instance.shared_readings = SharedReadings(clock=lambda: now[0])
    first = gateway.page("/preflight")
    gateway.redis.hset(keys.BLOCKED, "local-only", "the lawyers")
    try:
        assert "the lawyers" not in first + gateway.page("/preflight")
        now[0] += 6
        assert "the lawyers" in gateway.page("/preflight")
    finally:
        gateway.redis.hdel(keys.BLOCKED, "local-only")


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ("\nlogs: {format: json}\n", ["has changed since this process read it", "in force within seconds"]),
        ("\nlogs: {formt: json}\n", ["has changed since", "formt", "Did you mean"]),
        ("\nroles: [\n", ["has changed since"]),
    ],
    ids=["a valid change", "an unknown key", "a broken file"],
)
def test_a_file_that_has_changed_since_the_start_is_named_with_its_faults(
    gateway: PageGateway, unchecked: Path, change: str, lines: list[str]
) -> None:
    assert "has changed since" not in gateway.page("/preflight")
    gateway.instance.shared_readings = SharedReadings()
    unchecked.write_text(unchecked.read_text() + change)
    page = gateway.page("/preflight")
    assert [line for line in lines if line not in page] == []


def test_the_configuration_in_force_has_every_default_and_its_command(gateway: PageGateway) -> None:
    page = gateway.page("/config")
    assert "start_within" in page
    assert "openfall config show</code>" in page
