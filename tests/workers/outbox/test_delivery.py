"""What a response means, and when a delivery is retried."""

from __future__ import annotations

import pytest

from openfall.workers.outbox.delivery import (
    JOB_RETRY_SECONDS,
    NOTICE_GIVE_UP_SECONDS,
    Delivered,
    Failed,
    classify_response,
    job_retry_delay,
    notice_retry_delay,
)
from openfall.workers.outbox.sender import NotSent, WebhookResponse


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
        (NotSent("no answer"), Failed("no answer", unreachable=True)),
        (NotSent("internal", refused=True), Failed("internal", refused=True)),
    ],
)
def test_a_2xx_means_delivered_and_a_410_means_stop_sending(response, result):
    assert classify_response(response) == result


def test_a_webhook_of_a_job_has_eight_attempts_in_a_day():
    assert [job_retry_delay(tries, 0.5) for tries in range(1, 9)] == [*JOB_RETRY_SECONDS, None]
    assert 27 * 3600 < sum(JOB_RETRY_SECONDS) < 28 * 3600


def test_a_delay_is_jittered_and_never_shorter_than_retry_after_up_to_an_hour():
    assert (job_retry_delay(1, 0.0), job_retry_delay(1, 1.0)) == (4, 6)
    assert job_retry_delay(1, 0.0, retry_after=42) == 42
    assert job_retry_delay(2, 0.5, retry_after=42) == 300
    assert job_retry_delay(1, 0.5, retry_after=1e9) == 3600


def test_a_notice_is_retried_for_three_days_at_least_every_ten_minutes():
    delays = [notice_retry_delay(tries, 0, 0.5) for tries in range(1, 40)]
    assert delays[:4] == [5, 10, 20, 40]
    assert set(delays[8:]) == {600}
    assert notice_retry_delay(500, NOTICE_GIVE_UP_SECONDS - 600, 0.5) == 600
    assert notice_retry_delay(500, NOTICE_GIVE_UP_SECONDS - 599, 0.5) is None
    assert notice_retry_delay(10**6, 0, 0.5) == 600
