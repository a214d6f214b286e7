"""rq-dashboard behind the page: no pickle, no deletion, no GET that acts, no text from Redis as markup."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterator
from typing import Any

import pytest

from openfall.producers.page import rq_pages
from openfall.producers.page.rq_pages import RQ_HEADERS
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("rq")) as opened:
        submit = opened.instance.client.submit("a private prompt", id="chat-0001", role="chat")
        asyncio.run_coroutine_threadsafe(submit, opened.loop).result(60)
        yield opened


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/rq", "openfall</a>"),
        ("/rq/0/view/workers", "Workers"),
        ("/rq/0/view/jobs/gpu.tiny.interactive/queued/10/asc/1", "jobs"),
        ("/rq/0/data/queues.json", "gpu.tiny.interactive"),
        ("/rq/0/data/jobs/gpu.tiny.interactive/queued/10/asc/1.json", "chat/interactive tiny"),
        ("/rq/0/data/job/chat-0001.json", "chat-0001"),
    ],
)
def test_the_pages_of_rq_dashboard_show_our_queues_and_jobs_without_prompts(
    gateway: PageGateway, path: str, words: str
) -> None:
    with gateway.browser() as browser:
        response = browser.get(path, follow_redirects=True)
    assert response.status_code == 200
    assert words in response.text
    assert "private prompt" not in response.text
    assert response.headers["content-security-policy"] == RQ_HEADERS["content-security-policy"]


def test_no_page_of_rq_dashboard_shows_the_address_of_redis(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        redirect = browser.get("/rq/0/view/queues")
        page = browser.get("/rq/0/view/workers").text
    assert redirect.headers["location"] == "/rq/"
    assert "unix:" not in page
    assert "valkey.sock" not in page


def test_texts_from_redis_are_no_markup_for_the_scripts_of_rq_dashboard(gateway: PageGateway) -> None:
    before = gateway.redis.hget("rq:job:chat-0001", "description")
    gateway.redis.hset("rq:job:chat-0001", "description", HOSTILE)
    with gateway.browser() as browser:
        job = browser.get("/rq/0/data/job/chat-0001.json").json()
    gateway.redis.hset("rq:job:chat-0001", "description", before)
    assert job["description"] == "&lt;img src=x onerror=alert(1)&gt;"


@pytest.mark.parametrize(
    "path", ["/rq/requeue/gpu.tiny.interactive", "/rq/job/chat-0001/delete", "/rq/queue/gpu.tiny.interactive/compact"]
)
def test_no_get_acts(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        assert browser.get(path).status_code == 405
    assert gateway.redis.exists("rq:job:chat-0001")


@pytest.mark.parametrize(
    "path",
    [
        "/rq/job/chat-0001/delete",
        "/rq/queue/gpu.tiny.interactive/queued/empty",
        "/rq/queue/gpu.tiny.interactive/compact",
        "/rq/requeue/gpu.tiny.interactive",
    ],
)
def test_nothing_is_deleted_or_emptied(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        assert browser.post(path).status_code == 403
    assert gateway.redis.llen("rq:queue:gpu.tiny.interactive") == 1


def test_a_single_job_is_requeued_by_a_post_of_this_page_and_stands_in_the_audit_log(gateway: PageGateway) -> None:
    fields = {"status": "failed", "origin": "gpu.tiny.batch", "data": '["x",null,[],{}]'}
    gateway.redis.hset("rq:job:failed-01", mapping={**fields, "created_at": "2026-11-21T08:00:00.000000Z"})
    gateway.redis.zadd("rq:failed:gpu.tiny.batch", {"failed-01": 2_000_000_000})
    with gateway.browser() as browser:
        foreign = browser.post("/rq/job/failed-01/requeue", headers={"origin": "https://elsewhere.example"})
        done = browser.post("/rq/job/failed-01/requeue")
    assert (foreign.status_code, done.status_code) == (403, 200)
    assert gateway.redis.lrange("rq:queue:gpu.tiny.batch", 0, -1) == [b"failed-01"]
    assert "rq.requeue" in gateway.page("/")


@pytest.mark.parametrize(
    "path",
    [
        "/rq/9/view/queues",
        "/rq/9/data/queues.json",
        "/rq/0/data/jobs/gpu.tiny.interactive/queued/0/asc/1.json",
        "/rq/0/data/jobs/gpu.tiny.interactive/nothing/10/asc/1.json",
        "/rq/0/view/nothing",
    ],
)
def test_an_address_that_rq_dashboard_cannot_show_is_no_error_of_the_gateway(gateway: PageGateway, path: str) -> None:
    with gateway.browser() as browser:
        response = browser.get(path)
    assert response.status_code == 404
    assert "That is not possible" in response.text


def test_without_rq_dashboard_its_page_says_how_to_get_it(
    gateway: PageGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith(("rq_dashboard", "flask")):
            raise ImportError(name)
        return actual(name, *args, **options)

    monkeypatch.setattr(rq_pages, "_apps", {})
    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install &#39;openfall[rq]&#39;" in gateway.page("/rq")
