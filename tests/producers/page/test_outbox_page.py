"""The page of the outbox: what is pending and why, what failed for good, and what can be pressed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from openfall.router_core.state import keys
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.producers.page.test_rights import token_of
from tests.valkey_server import Server

PENDING, FAILED = "job:c07e51a2b9d84f0e6a3d1c55:done", "notice:discord:outage-17:began"


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("outbox")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def outbox(gateway: PageGateway) -> None:
    gateway.redis.flushall()
    gateway.instance.live_page = None
    gateway.redis.zadd(keys.OUTBOX, {PENDING: int(time.time() * 1000) + 3_600_000})
    gateway.redis.hset(keys.OUTBOX_ENTRY + PENDING, mapping={"tries": 2, "why": "HTTP 503 <busy>"})
    letter = {"entry": FAILED, "host": "discord", "why": "HTTP 404", "tries": 7, "at": time.time()}
    gateway.redis.lpush(keys.DEAD_LETTERS, json.dumps(letter))


def press(browser: httpx.Client, action: str, subject: str = "") -> httpx.Response:
    data = {"token": token_of(browser.get("/outbox").text), "subject": subject, "back": "/outbox"}
    return browser.post(f"/page/act/{action}", data=data, follow_redirects=True)


def test_each_notification_has_its_cause_its_next_try_and_its_job(gateway: PageGateway) -> None:
    page = gateway.page("/outbox")
    assert "HTTP 503 &lt;busy&gt;" in page
    assert "HTTP 404" in page
    assert 'href="/job/c07e51a2b9d84f0e6a3d1c55"' in page
    assert "openfall outbox</code>" in page


def test_a_pending_notification_is_tried_at_once(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        assert "1 of 1 notifications are due now" in press(browser, "retry-notification", PENDING).text
    assert gateway.redis.zscore(keys.OUTBOX, PENDING) <= time.time() * 1000


def test_what_failed_for_good_is_pending_again_or_dropped(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        press(browser, "retry-failed-notifications")
        assert gateway.redis.llen(keys.DEAD_LETTERS) == 0
        assert gateway.redis.zscore(keys.OUTBOX, FAILED) is not None
        question = browser.get(f"/page/ask/drop-notification?subject={FAILED}").text
        assert f"openfall outbox drop {FAILED}</code>" in question
        press(browser, "drop-notification", FAILED)
    assert gateway.redis.zrange(keys.OUTBOX, 0, -1) == [PENDING.encode()]
    audit = gateway.page()
    assert "outbox.drop" in audit
    assert "outbox.retry" in audit


def test_a_notification_that_is_gone_is_named_in_the_answer(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        answer = press(browser, "retry-notification", "job:gone:done")
    assert "unknown entry of the outbox" in answer.text
