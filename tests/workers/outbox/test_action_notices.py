"""Notices of what operators do: one message for each action, never a mention, never markup of a webhook's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openfall.config.settings import NotifySection
from openfall.router_core.state.audit_log import AuditEntry, write_entry
from openfall.workers.outbox.webhook_url_check import TRUSTED
from tests.faults import answer, fault_server
from tests.workers.outbox.dispatcher_harness import OK, SECRET, START, open_dispatcher

ACTION = AuditEntry(
    actor="anna", via="page", action="breaker.force_open", subject="tower/llama", effect="open", why="@here fan"
)


@pytest.mark.parametrize("notifier", ["discord", "webhook"])
def test_an_action_is_one_message_with_who_what_and_why(redis_url: str, notifier: str) -> None:
    async def main() -> list[Any]:
        async with fault_server(OK) as channel:
            settings = {notifier: channel.url, "secret": SECRET, "url_policy": TRUSTED}
            async with open_dispatcher(redis_url, [START * 1.5], **settings) as harness:
                await write_entry(harness.link, ACTION, (notifier,))
                await harness.run()
                await harness.run()
                assert not harness.delays()
            return [json.loads(call.body) for call in channel.calls_received]

    (message,) = asyncio.run(main())
    shown = json.dumps(message)
    assert "anna" in shown
    assert "breaker.force_open" in shown
    assert "tower/llama" in shown
    assert "@here fan" in shown
    if notifier == "discord":
        assert message["allowed_mentions"] == {"parse": []}
    else:
        assert message["type"] == "operator.action"


def test_a_message_that_fails_is_tried_again_later(redis_url: str) -> None:
    async def main() -> dict[str, float]:
        async with (
            fault_server(answer({}, status=500)) as channel,
            open_dispatcher(redis_url, [START * 1.5], discord=channel.url, url_policy=TRUSTED) as harness,
        ):
            await write_entry(harness.link, ACTION, ("discord",))
            await harness.run()
            return harness.delays()

    ((entry, delay),) = asyncio.run(main()).items()
    assert entry.startswith("action:discord:")
    assert delay == 5.0


def test_a_notifier_hears_of_actions_only_where_the_configuration_says_so() -> None:
    hook = "https://discord.example/api/webhooks/1/x"
    assert NotifySection(discord=hook).action_notifiers == ()
    assert NotifySection(discord=hook, actions=True).action_notifiers == ("discord",)
