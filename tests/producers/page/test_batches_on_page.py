"""Batches on the page: their progress, what keeps them, and their end on request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from openfall.producers.page.sections import batch_section
from openfall.producers.page.sections.batch_section import BatchRow
from openfall.router_core.batch_rules.batch_status import BatchStatus
from openfall.router_core.state.batches import Batch, BatchTerms, create_batch
from openfall.router_core.state.redis_connection import RedisConnection
from tests.conftest import Server
from tests.producers.page.page_gateway import PageGateway, page_gateway

HOSTILE = "<b>no folder</b>"


def terms(batch_id: str) -> BatchTerms:
    return BatchTerms(
        id=batch_id, form="openai", producer="anna", endpoint="/v1/chat/completions", directory="d", created_at=100,
        deadline=4_000_000_000,
    )  # fmt: skip


async def create(redis_url: str) -> None:
    async with RedisConnection(redis_url) as link:
        await create_batch(link, terms("batch_0123456789abcdef"))


@pytest.fixture(scope="module")
def gateway(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageGateway]:
    with page_gateway(shared_server.url, tmp_path_factory.mktemp("batches")) as opened:
        asyncio.run(create(shared_server.url))
        values = {"status": "in_progress", "total": 10, "submitted": 9, "succeeded": 6, "errored": 1, "why": HOSTILE}
        opened.redis.hset("of:batch:batch_0123456789abcdef", mapping=values)
        yield opened


@pytest.mark.parametrize("path", ["/", "/batch"])
def test_a_batch_is_shown_with_its_progress_and_what_keeps_it(gateway: PageGateway, path: str) -> None:
    page = gateway.page(path)
    assert "7 of 10 lines" in page
    assert "1 without an answer" in page
    assert 'width="60.00"' in page
    assert HOSTILE not in page
    assert "&lt;b&gt;no folder" in page
    assert "/page/ask/cancel-batch?subject=batch_0123456789abcdef" in page


def test_a_batch_is_cancelled_after_a_question(gateway: PageGateway) -> None:
    with gateway.browser() as browser:
        question = browser.get("/page/ask/cancel-batch?subject=batch_0123456789abcdef&back=/batch")
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', question.text))
        form = {"token": token, "subject": "batch_0123456789abcdef", "back": "/batch"}
        assert browser.post("/page/act/cancel-batch", data=form).status_code == 303
        assert "is being cancelled; it was in_progress" in browser.get("/batch").text
    assert gateway.redis.hget("of:batch:batch_0123456789abcdef", "status") == b"cancelling"


def row(status: BatchStatus, total: int = 10, **counts: int) -> BatchRow:
    values: dict[str, Any] = dict.fromkeys(("output_file_id", "error_file_id", "usage"))
    values |= {"moments": {}, "errors": (), "why": "", "runner": "", "submitted": total}
    zero = dict.fromkeys(("succeeded", "errored", "cancelled", "expired"), 0)
    return BatchRow(Batch(terms=terms("batch_1"), status=status, total=total, counts={**zero, **counts}, **values), "")


@pytest.mark.parametrize(
    ("batch", "tone", "shares", "may_be_cancelled"),
    [
        (row(BatchStatus.VALIDATING, 0), "", (0, 0), True),
        (row(BatchStatus.IN_PROGRESS, succeeded=5, errored=2), "", (50, 20), True),
        (row(BatchStatus.COMPLETED, succeeded=10), "good", (100, 0), False),
        (row(BatchStatus.COMPLETED, succeeded=9, errored=1), "", (90, 10), False),
        (row(BatchStatus.EXPIRED, succeeded=20, expired=20), "bad", (100, 0), False),
    ],
    ids=["without lines", "in progress", "completed", "with failures", "more than all"],
)
def test_the_progress_of_a_batch(
    batch: BatchRow, tone: str, shares: tuple[float, float], may_be_cancelled: bool
) -> None:
    assert (batch.tone, batch.may_be_cancelled) == (tone, may_be_cancelled)
    assert (batch.answered_share, batch.failed_share) == shares


def test_the_front_page_shows_the_batches_that_go_on_before_those_that_have_ended(gateway: PageGateway) -> None:
    from openfall.producers.page.page_snapshot import PageSnapshot
    from openfall.router_core.state.fleet_status import FleetStatus

    rows = [(row(BatchStatus.COMPLETED).batch, "")] * 6 + [(row(BatchStatus.IN_PROGRESS).batch, "")]
    status = FleetStatus(0.0, (), (), 0, 0, False, None, {})
    snapshot = PageSnapshot(
        now=0.0, catalog=gateway.instance.config.catalog, catalog_digest="", status=status, sources={"batches": rows}
    )
    values = batch_section.context(snapshot)
    assert [each.has_ended for each in values["rows"]] == [False, True, True, True, True]
    assert values["more"] == 2
