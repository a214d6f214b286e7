"""What Discord answers to the notices of an incident, as its documentation and its users have it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openfall.router_core.state.incidents import Incident
from openfall.router_core.state.outbox import NoticeKind
from openfall.workers.outbox.delivery_result import Delivered, Failed
from openfall.workers.outbox.notifiers.discord import DiscordNotifier
from openfall.workers.outbox.notifiers.wording import Notice
from openfall.workers.outbox.sender import Sender
from openfall.workers.outbox.webhook_url_check import TRUSTED
from tests.faults import Script, answer, fault_server, raw


def _notify(kind: NoticeKind, *scripts: Script) -> tuple[Any, list[str]]:
    """The result of a notice, and the paths of the requests."""
    incident = Incident(id="i1", reason="outage", began_at=1.0, last_fall_at=2.0, messages={"discord": "77"})

    async def main() -> tuple[Any, list[str]]:
        async with fault_server(*scripts) as server:
            sender = Sender(TRUSTED)
            notifier = DiscordNotifier(url=f"{server.url}/api/webhooks/1/token", sender=sender)
            result = await notifier.notify(Notice(entry="e", kind=kind, incident=incident, unmentioned=0, now=3.0))
            await sender.close()
            return result, [call.path for call in server.calls_received]

    return asyncio.run(main())


def _error(status: int, code: int, message: str, **more: Any) -> Script:
    return answer({"message": message, "code": code, **more}, status)


TOO_LONG = {
    "embeds": {"0": {"description": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 4096."}]}}}
}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (_error(404, 10015, "Unknown Webhook"), "HTTP 404: Unknown Webhook (10015)"),
        (_error(401, 50027, "Invalid Webhook Token"), "HTTP 401: Invalid Webhook Token (50027)"),
        (_error(400, 220001, "Webhooks posted to forum channels must have a thread_name or thread_id"),
         "HTTP 400: Webhooks posted to forum channels must have a thread_name or thread_id (220001)"),
        (_error(400, 50035, "Invalid Form Body", errors=TOO_LONG),
         "HTTP 400: Invalid Form Body (50035): embeds.0.description: Must be 4096."),
        (_error(400, 50035, "Invalid Form Body", errors={"a": []}), "HTTP 400: Invalid Form Body (50035)"),
        (_error(401, 0, "401: Unauthorized"), "HTTP 401: 401: Unauthorized"),
        (answer({"embeds": ["0"]}, 400), "HTTP 400"),
        (raw(b"HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 18\r\n\r\nerror code: 1015\r\n"), "HTTP 429"),
        (_error(403, 1, "\x1b[2J" + "x" * 999), "HTTP 403: \\x1b[2J" + "x" * 194),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_notice_has_the_words_of_discord(script: Script, reason: str) -> None:
    result, _ = _notify(NoticeKind.BEGAN, script)
    assert isinstance(result, Failed)
    assert result.reason == reason


@pytest.mark.parametrize(
    "script",
    [
        _error(404, 10008, "Unknown Message"),
        _error(400, 50083, "Thread is archived"),
        _error(403, 50005, "Cannot edit a message authored by another user"),
        _error(400, 30046, "Maximum number of edits to messages older than 1 hour reached. Try again later"),
    ],
)
def test_a_message_that_can_no_longer_be_edited_gets_a_successor(script: Script) -> None:
    result, paths = _notify(NoticeKind.UPDATE, script, answer({"id": "78"}))
    assert result == Delivered(message_id="78")
    assert paths == ["/api/webhooks/1/token/messages/77", "/api/webhooks/1/token?wait=true"]


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_edit_that_may_succeed_later_gets_no_successor(status: int) -> None:
    result, paths = _notify(NoticeKind.UPDATE, answer({"message": "x", "retry_after": 0.5}, status))
    assert isinstance(result, Failed)
    assert len(paths) == 1
