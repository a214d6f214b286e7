"""Requests that no browser of an operator sends: odd spellings, odd headers, too much of a thing, a late reader."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from openfall.producers.operations.operator import Operator
from openfall.router_core.state.client_keys import ClientKey, KeyRing, PageRight, add_key, digest_of, new_secret
from openfall.router_core.state.page_sessions import end_session
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import RunningGateway, open_gateway, run
from tests.producers.page.page_gateway import HTML, PageGateway, page_gateway
from tests.producers.page.test_rights import token_of
from tests.valkey_server import Server

QUEUE = "gpu.tiny.batch"


@pytest.fixture(scope="module")
def gateway(server_of_module: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(server_of_module.url, tmp_path_factory.mktemp("hostile")) as opened:
        yield opened


def send(gateway: PageGateway, method: str, target: str) -> int:
    """The status of a request whose target is sent as it is: a client library would write it in another form."""
    url = httpx.URL(gateway.url)
    with socket.create_connection((url.host, url.port or 80), 20) as connection:
        head = f"{method} {target} HTTP/1.1\r\nhost: {url.host}:{url.port}\r\ncontent-length: 0\r\n\r\n"
        connection.sendall(head.encode())
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"/rq/requeue/{QUEUE}"),
        ("GET", f"/rq/%72equeue/{QUEUE}"),
        ("GET", f"/rq/%2572equeue/{QUEUE}"),
        ("GET", f"/rq/requeue%252F{QUEUE}"),
        ("GET", f"/rq/x%2F..%2Frequeue/{QUEUE}"),
        ("POST", f"/rq/job/x%252F..%252F..%252Frequeue%252F{QUEUE}%3F/requeue"),
        ("POST", "/rq/job/failed-01%252Fdelete%3F/requeue"),
    ],
)
def test_no_spelling_of_an_address_lets_rq_dashboard_act(gateway: PageGateway, method: str, target: str) -> None:
    fields = {"status": "failed", "origin": QUEUE, "data": '["x",null,[],{}]'}
    gateway.redis.hset("rq:job:failed-01", mapping={**fields, "created_at": "2026-11-21T08:00:00.000000Z"})
    gateway.redis.zadd(f"rq:failed:{QUEUE}", {"failed-01": 2_000_000_000})
    assert send(gateway, method, target) >= 400
    assert gateway.redis.zrange(f"rq:failed:{QUEUE}", 0, -1) == [b"failed-01"]
    assert gateway.redis.exists("rq:job:failed-01")
    assert gateway.redis.llen(f"rq:queue:{QUEUE}") == 0


@pytest.mark.parametrize("path", ["/rq/0/view/job/gone-0001", "/rq/0/data/job/gone-0001.json"])
def test_a_job_that_rq_does_not_keep_is_no_fault_of_the_gateway(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        assert browser.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/page/live?sections=jobs", "/job", "/rq"])
def test_an_origin_that_is_no_address_is_refused_like_any_other_foreign_one(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        assert browser.get(path, headers={"origin": "http://["}).status_code == 403
        assert browser.post("/page/sign-in", headers={"origin": "http://["}).status_code == 403


@pytest.mark.parametrize("path", ["/page/sign-in", "/page/act/pause", "/page/sign-out", "/page/jobs", "/try"])
def test_a_form_of_too_many_fields_is_refused_and_is_no_fault_of_the_gateway(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        assert browser.post(path, data={f"field{number}": "x" for number in range(300)}).status_code == 413


def test_a_version_of_thousands_of_digits_is_no_version(gateway: PageGateway) -> None:
    path = f"/page/live?sections=jobs&versions={'9' * 5000}"
    with gateway.browser() as browser, browser.stream("GET", path) as response:
        assert response.status_code == 200


def test_a_gateway_without_a_page_has_no_sign_in(shared_server: Server, tmp_path: Path) -> None:
    with page_gateway(shared_server.url, tmp_path, more="gateway: {page: none}") as closed, closed.browser() as browser:
        assert browser.get("/page/sign-in").status_code == 404
        assert browser.post("/page/sign-in", data={"key": new_secret()}).status_code == 404


async def signed_in(gateway: RunningGateway, browser: httpx.AsyncClient, **limits: int) -> ClientKey:
    """A new key, with which a browser has signed in."""
    secret = new_secret()
    key = ClientKey.model_validate({"name": "anna", "digest": digest_of(secret), "page": PageRight.ACT, **limits})
    await add_key(gateway.link, key)
    assert (await browser.post("/page/sign-in", data={"key": secret})).status_code == 303
    return key


async def ask(browser: httpx.AsyncClient) -> httpx.Response:
    page = await browser.get("/try")
    return await browser.post("/try", data={"question": "Why?", "target": "chat", "token": token_of(page.text)})


def browser_of(gateway: RunningGateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, headers=HTML, timeout=60)


def test_an_open_page_ends_with_its_sign_in(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as browser:
            await signed_in(gateway, browser)
            async with browser.stream("GET", "/page/live?sections=audit") as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "retry: 2000"
                await end_session(gateway.link, browser.cookies["openfall_session"])
                await Operator(gateway.instance.client, "anna", "page").note("pause", "gpu.*", "paused")
                async for line in lines:
                    assert line != ": nothing new", "the page is open although its visitor has signed out"

    run(main())


def test_a_streamed_answer_ends_with_the_key_that_asked(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, browser_of(gateway) as browser:
            await signed_in(gateway, browser)
            path = (await ask(browser)).headers["location"]
            async with browser.stream("GET", f"{path}/events") as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "retry: 2000"
                gateway.instance.keys = KeyRing({"other": ClientKey(name="other", digest="other")})
                await gateway.instance.client.cancel(path.removeprefix("/try/"))
                assert "event: end" not in [line async for line in lines]

    run(main())


def test_the_limits_of_a_key_hold_for_the_questions_of_its_page(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, browser_of(gateway) as browser:
            await signed_in(gateway, browser, per_minute=1)
            first, second = await ask(browser), await ask(browser)
        assert first.status_code == 303
        assert second.status_code == 400
        assert re.search("may send 1 requests a minute", second.text)

    run(main())
