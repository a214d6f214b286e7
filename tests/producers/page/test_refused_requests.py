"""Requests that the gateway refuses are counted by key and cause: page, command line and metrics read one count."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click.testing
import httpx
import pytest

from openfall.producers.cli.commands import openfall
from openfall.producers.gateway.refusal_counts import RefusalCounts
from openfall.producers.metrics.exposition import expose
from openfall.producers.metrics.metrics_reader import read_metrics
from openfall.producers.refused_table import describe_refused, refused_table
from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, KeyRing, digest_of, new_secret
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.refused_requests import NO_KEY, RefusedRequests
from tests.conftest import Server
from tests.producers.gateway.running_gateway import CONFIG, open_gateway
from tests.producers.page.page_gateway import HTML, PageGateway, page_gateway
from tests.producers.page.page_text import text_of
from tests.producers.page.test_rights import token_of

SECRETS = {name: new_secret() for name in ("reader", "chatty", "boss")}
RING = KeyRing({
    key.digest: key
    for key in (
        ClientKey(name="reader", digest=digest_of(SECRETS["reader"]), page="read", names=("chat",)),
        ClientKey(name="chatty", digest=digest_of(SECRETS["chatty"]), per_minute=1),
        ClientKey(name="boss", digest=digest_of(SECRETS["boss"]), admin=True),
    )
})  # fmt: skip


@pytest.fixture(scope="module")
def gateway(server_of_module: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    """After requests of every kind that it refuses."""
    with page_gateway(server_of_module.url, tmp_path_factory.mktemp("refused")) as opened:
        for key in RING.by_digest.values():
            opened.redis.hset(keys.CLIENT_KEYS, key.name, key.model_dump_json(exclude_none=True))
        opened.instance.keys = RING
        refuse_requests(opened)
        asyncio.run_coroutine_threadsafe(write_counts(opened), opened.loop).result(10)
        yield opened


async def write_counts(gateway: PageGateway) -> None:
    """What the gateway does every two seconds."""
    await gateway.instance.refusals.write(gateway.instance.client.store.connection)


def refuse_requests(gateway: PageGateway) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "stream": False}
    with httpx.Client(base_url=gateway.url, timeout=30) as program:

        def ask(name: str, **changes: object) -> int:
            secret = SECRETS.get(name, "of_unknown")
            headers = {"authorization": f"Bearer {secret}"}
            return program.post("/v1/chat/completions", json={**body, **changes}, headers=headers).status_code

        assert program.post("/v1/chat/completions", json=body).status_code == 401
        assert [ask("unknown"), ask("reader", model="other"), ask("boss", model="chatt")] == [401, 403, 404]
        assert ask("chatty", messages=3) == 400  # it uses the minute of its key
        assert [ask("chatty"), ask("chatty")] == [429, 429]
        assert program.get("/no-such-page").status_code == 404
    with httpx.Client(base_url=gateway.url, headers=HTML, timeout=30) as browser:
        assert browser.post("/page/sign-in", data={"key": "of_wrong"}).status_code == 403
        assert browser.post("/page/sign-in", data={"key": SECRETS["chatty"]}).status_code == 403
        assert browser.post("/page/sign-in", data={"key": SECRETS["reader"]}).status_code == 303
        token = token_of(browser.get("/keys").text)
        assert browser.post("/page/act/local-only-on", data={"token": token}).status_code == 403


EXPECTED = {
    ("(none)", "no_key"): 3,
    ("(none)", "unknown_url"): 1,
    ("reader", "not_allowed"): 2,
    ("chatty", "not_allowed"): 1,
    ("chatty", "bad_request"): 1,
    ("chatty", "rate_limit"): 2,
    ("boss", "unknown_model"): 1,
}


def command(gateway: PageGateway, *words: str) -> str:
    """What a command prints. Its exit code is that of the fleet's health."""
    file = str(gateway.instance.config.source)
    ran = click.testing.CliRunner().invoke(openfall, [*words, "--config", file])
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran.stdout


def test_the_command_line_has_each_key_and_cause(gateway: PageGateway) -> None:
    rows = json.loads(command(gateway, "keys", "refused", "--json"))
    assert {(row["key"], row["cause"]): row["count"] for row in rows} == EXPECTED
    assert all(abs(gateway.redis.time()[0] - row["last_at"]) < 60 for row in rows)


def test_the_page_of_keys_and_the_front_page_have_them_too(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        assert browser.post("/page/sign-in", data={"key": SECRETS["boss"]}).status_code == 303
        listed, front = text_of(browser.get("/keys").text), text_of(browser.get("/").text)
    for (key, cause), count in EXPECTED.items():
        shown = "no known key" if key == NO_KEY else key
        row = re.compile(rf"{re.escape(shown)}\W+{cause}\W+\d+\W+{count}\W")
        assert row.search(listed), (key, cause)
    assert "Refused requests 11 today (UTC), with HTTP 4xx: for their key, a limit, or what they ask; by key" in front
    assert "what helps: fewer requests, or a key with a higher limit" in front


def test_status_and_top_name_the_most_frequent(gateway: PageGateway) -> None:
    expected = "11 requests were refused today: 3 without a known key (no_key), 2 of chatty (rate_limit), 2 of reader"
    for words in (("status",), ("top", "--once")):
        assert expected in " ".join(command(gateway, *words).split())
    assert len(json.loads(command(gateway, "status", "--json"))["refused_today"]) == len(EXPECTED)


def test_the_metrics_have_the_names_of_known_keys_and_no_others(gateway: PageGateway) -> None:
    gateway.redis.hset(keys.CLIENT_KEYS, "gone", "{}")
    lines = [line for line in command(gateway, "metrics").splitlines() if line.startswith("openfall_refused_requests_")]
    assert sorted(lines) == sorted(
        f'openfall_refused_requests_total{{cause="{cause}",key="{"" if key == NO_KEY else key}"}} {count:.1f}'
        for (key, cause), count in EXPECTED.items()
    )


def test_a_revoked_key_and_an_unknown_cause_are_other(gateway: PageGateway) -> None:
    catalog = gateway.instance.config.catalog
    rows = [
        RefusedRequests(key=key, cause=cause, count=1, last_at=0.0)
        for key, cause in (("gone", "no_key"), ("boss", "new"))
    ]

    async def read() -> str:
        reading = await read_metrics(gateway.instance.client.store.connection, catalog)
        return expose(replace(reading, refused=tuple(rows)), catalog, "").body.decode()

    text = asyncio.run_coroutine_threadsafe(read(), gateway.loop).result(10)
    assert 'openfall_refused_requests_total{cause="no_key",key="other"} 1.0' in text
    assert 'openfall_refused_requests_total{cause="other",key="boss"} 1.0' in text


def test_while_redis_is_away_the_counts_are_kept() -> None:
    async def main() -> None:
        counts = RefusalCounts()
        counts.add("anna", "rate_limit")
        counts.add("anna", "crashed")  # a fault of openfall
        async with RedisConnection("redis://127.0.0.1:1") as away:
            for _ in range(2):
                with pytest.raises(StoreError):
                    await counts.write(away)

    asyncio.run(main())


def test_callers_without_a_key_are_named_in_words() -> None:
    rows = [RefusedRequests(key=key, cause="bad_request", count=1, last_at=0.0) for key in ("gateway", "page")]
    assert [row[0] for row in refused_table(rows, 0.0).rows] == ["gateway without keys", "page without a key"]
    assert "1 without a key (bad_request), 1 of the page (bad_request)" in describe_refused(rows)


def test_no_row_says_so() -> None:
    assert (describe_refused([]), refused_table([], 0.0).if_empty) == ("", "no request was refused today (UTC)")


@pytest.mark.parametrize(
    ("words", "headers", "status", "cause"),
    [
        (3, {"x-openfall-local-only": "yes"}, 403, "local_only"),
        (99_000, {"x-openfall-local-only": "yes"}, 400, "bad_request"),
        (99_000, {}, 400, "bad_request"),
    ],
    ids=["only the rule forbids", "its prompt is too long too", "its prompt is too long"],
)
def test_a_request_that_only_the_rule_of_local_pools_forbids_is_a_403(
    redis_url: str, tmp_path: Path, words: int, headers: dict[str, str], status: int, cause: str
) -> None:
    async def main() -> None:
        cloud = CONFIG.replace("local: yes", "local: no")
        async with open_gateway(redis_url, tmp_path, config=cloud, pools=()) as gateway:
            body = {"model": "chat", "messages": [{"role": "user", "content": "wave " * words}]}
            refused = await gateway.http.post("/v1/chat/completions", json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["openfall"]["cause"]) == (status, cause)

    asyncio.run(main())
