"""Batches on the page: their progress, what keeps them, and their end on request."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.journal_reopening import reopen
from openfall.producers.local_batches.output_journal import Journal
from openfall.producers.local_batches.saved_plans import save_plan
from openfall.producers.page.sections import batch_section
from openfall.producers.page.sections.batch_section import BatchRow
from openfall.router_core.batch_rules.batch_status import BatchStatus
from openfall.router_core.state.batches import Batch, BatchTerms, create_batch
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.redis_connection import RedisConnection
from tests.producers.page.page_gateway import PageGateway, page_gateway
from tests.valkey_server import Server

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
    gateway.redis.hset("of:batch:batch_0123456789abcdef", "status", "in_progress")
    page = gateway.page(path)
    assert "7 of 10 lines" in page
    assert "1 without an answer" in page
    assert 'width="60.00"' in page
    assert HOSTILE not in page
    assert "&lt;b&gt;no folder" in page
    assert "/page/ask/cancel-batch?subject=batch_0123456789abcdef" in page


def test_a_batch_is_cancelled_after_a_question(gateway: PageGateway) -> None:
    gateway.redis.hset("of:batch:batch_0123456789abcdef", "status", "in_progress")
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


async def submit(gateway: PageGateway, home: Path, name: str = "panels") -> None:
    """A run of a batch of three lines, one of which is invalid, that ends as soon as it has submitted the others."""
    llm, source, out = gateway.instance.client, home / "panels.jsonl", home / "panels-out.jsonl"
    request = {"body": {"model": "chat", "messages": [{"role": "user", "content": "Haruka waves"}]}}
    lines = [{"custom_id": f"line-{number}", **request} for number in range(2)] + [{"custom_id": "line-2"}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = BatchPlan(source=source, name=name)
    with Journal(out) as journal:
        save_plan(llm.config.settings.data_dir, plan, out)
        run = BatchRun(llm, plan, reopen(journal, plan))
        running = asyncio.create_task(run.run(journal))
        while run.in_queue < 2:
            await asyncio.sleep(0.01)
        await cancel_all(running)


def test_a_batch_of_this_machine_is_shown_with_what_keeps_it_and_is_cancelled_by_its_name(
    gateway: PageGateway, tmp_path: Path
) -> None:
    shutil.rmtree(gateway.instance.config.settings.data_dir / "batches", ignore_errors=True)  # those of other tests
    gateway.instance.shared_readings.forget()
    assert "No batch was run there with this configuration." in gateway.page("/batch")
    asyncio.run_coroutine_threadsafe(submit(gateway, tmp_path), gateway.loop).result(60)
    gateway.instance.shared_readings.forget()
    page = gateway.page("/batch")
    assert re.findall(r'data-label="(\w[\w ]*)"[^>]*><div>(\d+)</div>', page) == [
        ("lines", "3"), ("answered", "0"), ("failed", "1"), ("waiting", "2"), ("uncollected", "0"),
        ("not submitted", "0"),
    ]  # fmt: skip
    assert "no live worker" in page
    with gateway.browser() as browser:
        question = browser.get("/page/ask/cancel-batch?subject=panels&back=/batch")
        assert "openfall batch cancel panels</code>" in question.text
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', question.text))
        form = {"token": token, "subject": "panels", "back": "/batch"}
        browser.post("/page/act/cancel-batch", data=form)
        after = browser.get("/batch").text
    assert "2 jobs of panels are cancelled; 0 had ended" in after
    assert '<td data-label="uncollected" class="number"><div>2</div></td>' in after


async def collect(gateway: PageGateway, home: Path) -> None:
    """The end of a run whose jobs have ended."""
    llm, out = gateway.instance.client, home / "panels-out.jsonl"
    plan = BatchPlan(source=home / "panels.jsonl", name="strips")
    with Journal(out) as journal:
        await BatchRun(llm, plan, reopen(journal, plan)).run(journal)


async def join_retry(gateway: PageGateway, home: Path) -> None:
    """A run with `--retry-failed` that ends as soon as it has joined the jobs of the failed lines."""
    llm, out = gateway.instance.client, home / "panels-out.jsonl"
    plan = BatchPlan(source=home / "panels.jsonl", name="strips", retry_failed=True)
    with Journal(out) as journal:
        run = BatchRun(llm, plan, reopen(journal, plan))
        running = asyncio.create_task(run.run(journal))
        while run.in_queue < 2:
            await asyncio.sleep(0.01)
        await cancel_all(running)


def test_failed_lines_are_submitted_again_after_a_question_and_joined_by_the_run_that_collects_them(
    gateway: PageGateway, tmp_path: Path
) -> None:
    def counts() -> dict[str, str]:
        gateway.instance.shared_readings.forget()
        row = gateway.page("/batch").partition("<div>strips</div>")[2].partition("</tr>")[0]
        return dict(re.findall(r'data-label="(\w[\w ]*)"[^>]*><div>(\d+)</div>', row))

    def wait_for(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, gateway.loop).result(60)

    def press(action: str) -> str:
        with gateway.browser() as browser:
            question = browser.get(f"/page/ask/{action}?subject=strips&back=/batch").text
            (token,) = set(re.findall(r'name="token" value="([^"]+)"', question))
            browser.post(f"/page/act/{action}", data={"token": token, "subject": "strips", "back": "/batch"})
            return question + browser.get("/batch").text

    wait_for(submit(gateway, tmp_path, "strips"))
    assert "retry-batch?subject=strips" not in gateway.page("/batch"), "its one failed line is invalid"
    press("cancel-batch")
    wait_for(collect(gateway, tmp_path))
    assert counts()["failed"] == "3"
    before = gateway.redis.zcard("of:jobs")
    shown = press("retry-batch")
    assert "openfall batch retry strips</code>" in shown
    assert "2 failed lines of strips submitted again" in shown
    assert (counts()["failed"], counts()["waiting"]) == ("1", "2")
    press("retry-batch")
    wait_for(join_retry(gateway, tmp_path))
    assert gateway.redis.zcard("of:jobs") == before + 2, "a second press and the run join the same jobs"
    entry = json.loads(gateway.redis.xrevrange("of:audit-log", count=1)[0][1][b"entry"])
    assert (entry["action"], entry["subject"]) == ("batch.retry", "strips")
    press("cancel-batch")


@pytest.mark.parametrize("name", ["nothing", "/etc/passwd", "../panels", ""])
def test_a_name_that_is_no_batch_is_refused_and_is_never_a_path(gateway: PageGateway, name: str) -> None:
    with gateway.browser() as browser:
        question = browser.get("/page/ask/cancel-batch?subject=x")
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', question.text))
        answer = browser.post("/page/act/cancel-batch", data={"token": token, "subject": name})
    assert answer.status_code in (400, 404)
    assert "unknown batch" in answer.text or "does not say what it concerns" in answer.text
