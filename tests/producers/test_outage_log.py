"""A program that waits for Redis says so in its log, and its error shows where it called openfall."""

from __future__ import annotations

import asyncio
import logging
import traceback

import pytest

import openfall as api
from openfall.producers import outage_log
from openfall.producers.outage_log import NOT_CONFIRMED, REPEAT_SECONDS, SILENT_SECONDS, OutageLog
from openfall.router_core.state.errors import NotConfirmed
from tests.worker_harness import unused_url


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage_log.OUTAGES, "_logged_at", {})


def test_an_outage_has_one_line_after_a_while_and_one_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    outages = OutageLog(lambda: now)
    began, lines = now, []
    for seconds in (0.0, SILENT_SECONDS, SILENT_SECONDS + 1, SILENT_SECONDS + REPEAT_SECONDS):
        now = began + seconds
        for _ in range(3):
            outages.note(api.StoreUnreachable("Redis does not answer at redis://rack:6379/0"), began)
        lines.append(len(caplog.records))
    assert lines == [0, 1, 1, 2]
    assert caplog.messages[0] == "waiting for Redis: Redis does not answer at redis://rack:6379/0"


def test_another_error_has_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    outages = OutageLog(lambda: 100.0)
    for words in ("it is away", "it loads", "it is away", "it loads"):
        outages.note(api.StoreUnreachable(words), 0.0)
    assert caplog.messages == ["waiting for Redis: it is away", "waiting for Redis: it loads"]


def test_jobs_that_redis_does_not_confirm_have_one_line_together(caplog: pytest.LogCaptureFixture) -> None:
    outages = OutageLog(lambda: 100.0)
    for job_id in ("a", "b", "c"):
        outages.note(NotConfirmed(job_id, (0, 0), 0, 2.0), 0.0)
    assert caplog.messages == [f"waiting for Redis: {NOT_CONFIRMED}"]


def test_a_client_logs_where_it_waits_and_its_error_has_no_frames_of_redis_py(
    caplog: pytest.LogCaptureFixture, config_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_log, "SILENT_SECONDS", 0.0)
    url = unused_url().replace("http:", "redis:")

    async def main() -> None:
        async with api.AsyncOpenfall(url, config=config_file, retry_for=0.3) as llm:
            await llm.ask("hi", role="chat")

    with caplog.at_level(logging.WARNING, "openfall"), pytest.raises(api.StoreUnreachable) as caught:
        asyncio.run(main())
    assert [url in message for message in caplog.messages] == [True]
    shown = "".join(traceback.format_exception(caught.value))
    assert "site-packages" not in shown
    assert shown.count("Traceback (most recent call last)") == 1
    assert "redis.exceptions.ConnectionError: Error 111" in shown
