"""The front page: for whom it is, how it renews itself, and that nothing from outside becomes markup."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator

import pytest

from openfall.producers.page.front_page import SECTIONS
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.router_core.state.redis_connection import RedisConnection
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("page")) as opened:
        yield opened


def events(gateway: PageGateway, query: str, *, at_least: int) -> list[dict[str, object]]:
    """The sections that an open page is sent."""
    shown: list[dict[str, object]] = []
    with gateway.browser() as browser, browser.stream("GET", f"/page/live?{query}") as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                shown.append(json.loads(line.removeprefix("data: ")))
                if len(shown) == at_least:
                    break
    return shown


def until(gateway: PageGateway, name: str, text: str) -> str:
    """A section as soon as it has a text."""
    with gateway.browser() as browser, browser.stream("GET", f"/page/live?sections={name}&versions=0") as response:
        shown = (json.loads(line[6:])["html"] for line in response.iter_lines() if line.startswith("data: "))
        return next(str(html) for html in shown if text in html)


def test_a_browser_gets_the_page_and_a_program_what_an_ollama_says(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        page, program = browser.get("/"), browser.get("/", headers={"accept": "*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "No caller gets an answer" in page.text, "no worker is alive"
    assert program.text == "Ollama is running"


def test_the_page_runs_no_script_and_no_style_but_its_own_and_may_not_be_framed(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        response = browser.get("/")
        files = re.findall(r'(?:src|href)="(/page/static/[^"]+)"', response.text)
        answers = {name: browser.get(name) for name in files}
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|(?:src|href)=\"(?:https?:)?//", response.text)
    assert {answer.status_code for answer in answers.values()} == {200}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers.values())


def test_an_open_page_is_sent_a_section_only_when_it_has_changed(gateway: PageGateway) -> None:
    whole = events(gateway, "sections=health,queues&versions=0,0", at_least=2)
    versions = {event["name"]: event["version"] for event in whole}
    gateway.redis.hset("of:blocked", "local-only", "the lawyers want it")
    changed = events(gateway, f"sections=health,queues&versions={versions['health']},{versions['queues']}", at_least=1)
    gateway.redis.hdel("of:blocked", "local-only")
    assert [event["name"] for event in changed] == ["health"]
    assert "the lawyers want it" in str(changed[0]["html"])


def test_text_from_outside_is_never_markup(gateway: PageGateway) -> None:
    now = int(time.time() * 1000)
    fields = {"state": "open", "cause": HOSTILE, "why": HOSTILE, "away_since": now, "until": now + 60_000}
    gateway.redis.sadd("of:breakers", "rack/tiny", f"rack/{HOSTILE}")
    for target in ("rack/tiny", f"rack/{HOSTILE}"):
        gateway.redis.hset(f"of:breaker:{target}", mapping=fields)
    gateway.redis.sadd("rq:queues", f"rq:queue:{HOSTILE}")
    gateway.redis.rpush(f"rq:queue:{HOSTILE}", "x")
    section = until(gateway, "breakers", "&lt;script&gt;")
    whole = gateway.page()
    gateway.redis.flushall()
    assert "alert(1)</script>" not in section + whole


def test_the_script_asks_for_sections_that_exist(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        refused = browser.get("/page/live?sections=nothing")
    assert refused.status_code == 400


def test_a_reading_takes_a_few_round_trips_however_many_queues_and_breakers_there_are(gateway: PageGateway) -> None:
    for number in range(300):
        gateway.redis.sadd("rq:queues", f"rq:queue:gpu.m{number}.batch")
        gateway.redis.sadd("of:breakers", f"rack/m{number}")

    async def read() -> tuple[int, int]:
        async with RedisConnection(gateway.redis_url) as link:
            reader = SnapshotReader(link, gateway.instance.config.catalog)
            sources = [source for section in SECTIONS for source in section.sources]
            await reader.read(sources)  # loads the scripts
            before = link.round_trips
            snapshot = await reader.read(sources)
            return link.round_trips - before, len(snapshot.status.queues)

    round_trips, queues = asyncio.run(read())
    gateway.redis.flushall()
    assert queues >= 300
    assert round_trips <= 4
