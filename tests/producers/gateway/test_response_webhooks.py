"""The end of a Response is a webhook in OpenAI's form, which OpenAI's SDK verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from openfall.router_core.state.outbox import JobEntry, JobNotification
from openfall.router_core.vocabulary import HoldReason
from openfall.workers.outbox.producer_webhook import webhook_of_job
from tests.faults import COMPLETION, Script, answer, fault_server, stall
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import openai_client
from tests.producers.gateway.webhook_receiver import WEBHOOK_SECRET, WEBHOOKS, post_webhooks

CUT = answer({**COMPLETION, "choices": [{**COMPLETION["choices"][0], "finish_reason": "length"}]})
REFUSED = answer({"error": {"message": "no", "type": "invalid_request_error"}}, 400)


async def _event(
    redis_url: str, home: Path, script: Script, *, by_key: bool = False, cancels: bool = False, **body: Any
) -> tuple[Any, str]:
    """The event that a receiver gets of a Response, as the SDK reads it, and the id of the Response."""
    async with (
        open_gateway(redis_url, home, script, more=WEBHOOKS, pools=("gpu",)) as gateway,
        openai_client(gateway, webhook_secret=WEBHOOK_SECRET, api_key="of_bot") as client,
        fault_server(answer({})) as receiver,
    ):
        key = ClientKey(name="bot", digest=digest_of("of_bot"), webhook=receiver.url if by_key else None)
        await add_key(gateway.link, key)
        gateway.instance.keys = await fetch_keys(gateway.link)
        headers = {} if by_key else {"X-Openfall-Webhook": receiver.url}
        response = await client.responses.create(model="chat", input="x", extra_headers=headers, **body)
        if cancels:
            await client.responses.cancel(response.id)
        await gateway.instance.client.wait(response.id.removeprefix("resp_"), 60)
        await post_webhooks(gateway)
        [call] = receiver.calls_received
        return client.webhooks.unwrap(call.body, call.headers), response.id


@pytest.mark.parametrize(
    ("script", "kind", "cancels"),
    [
        (answer(COMPLETION), "response.completed", False),
        (CUT, "response.incomplete", False),
        (REFUSED, "response.failed", False),
        (stall, "response.cancelled", True),
    ],
)
def test_the_end_of_a_background_response_is_an_event_that_the_sdk_verifies(
    redis_url: str, tmp_path: Path, script: Script, kind: str, cancels: bool
) -> None:
    event, response_id = run(_event(redis_url, tmp_path, script, cancels=cancels, background=True))
    assert (event.object, event.type, event.data.id) == ("event", kind, response_id)


def test_a_response_in_the_foreground_posts_the_same_event(redis_url: str, tmp_path: Path) -> None:
    event, response_id = run(_event(redis_url, tmp_path, answer(COMPLETION)))
    assert (event.type, event.data.id) == ("response.completed", response_id)


def test_the_webhook_of_a_key_gets_the_ends_of_its_background_responses(redis_url: str, tmp_path: Path) -> None:
    event, response_id = run(_event(redis_url, tmp_path, answer(COMPLETION), by_key=True, background=True))
    assert (event.type, event.data.id) == ("response.completed", response_id)


def test_a_held_response_posts_no_event_as_it_is_still_queued() -> None:
    held = Result(id="a", status=Status.DEGRADED, held_for=HoldReason.OUTAGE)
    notification = JobNotification(url="https://example.org", result=held, reply_to=None, at=1.0, is_response=True)
    assert webhook_of_job("job:a:degraded", JobEntry("a", "degraded"), notification) is None
