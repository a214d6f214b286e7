"""Webhooks of a gateway: the configuration that permits them, and the worker that posts them."""

from __future__ import annotations

import base64

from openfall.workers.outbox.dispatcher import OutboxDispatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.outbox.webhook_url_check import UrlPolicy
from tests.producers.gateway.running_gateway import RunningGateway

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
WEBHOOKS = f"webhooks: {{private: yes, secret: {WEBHOOK_SECRET}}}"


async def post_webhooks(gateway: RunningGateway) -> None:
    """Post every entry of the outbox that is due."""
    settings = OutboxSettings(secret=WEBHOOK_SECRET, url_policy=UrlPolicy(allow_private=True))
    dispatcher = OutboxDispatcher(gateway.link, settings, jitter=lambda: 0.5)
    await dispatcher.dispatch()
    await dispatcher.wait_idle()
    await dispatcher.close()
