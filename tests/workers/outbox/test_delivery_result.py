"""What a response to a delivery means."""

from __future__ import annotations

import pytest

from openfall.workers.outbox.delivery_result import Delivered, Failed, WebhookResponse, classify_response


@pytest.mark.parametrize(
    ("response", "result"),
    [
        (WebhookResponse(200, {}, b""), Delivered()),
        (WebhookResponse(204, {}, b""), Delivered()),
        (WebhookResponse(301, {}, b""), Failed("HTTP 301, a redirect, which is not followed")),
        (WebhookResponse(404, {}, b""), Failed("HTTP 404")),
        (WebhookResponse(410, {}, b""), Failed("HTTP 410", gone=True)),
        (WebhookResponse(429, {"retry-after": "7"}, b""), Failed("HTTP 429", retry_after=7)),
        (WebhookResponse(503, {"retry-after": "7"}, b""), Failed("HTTP 503", retry_after=7)),
        (Failed("no answer", unreachable=True), Failed("no answer", unreachable=True)),
        (Failed("internal", refused=True), Failed("internal", refused=True)),
    ],
)
def test_a_2xx_means_delivered_and_a_410_means_stop_sending(response, result):
    assert classify_response(response) == result
