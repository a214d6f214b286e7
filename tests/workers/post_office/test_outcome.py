"""What an answer means, when a post is tried again, and how a webhook is signed."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from openfall.workers.outbox.delivery import (
    JOB_WAITS,
    NOTICE_FOR,
    Delivered,
    Failed,
    classify_response,
    next_job_try,
    next_notice_try,
)
from openfall.workers.outbox.host_backoff import (
    FIRST,
    MOST,
    MOST_HOSTS,
    HostBackoff,
)
from openfall.workers.outbox.sender import NotSent, WebhookResponse
from openfall.workers.outbox.signing import body, headers, signature


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (WebhookResponse(200, {}, b""), Delivered()),
        (WebhookResponse(204, {}, b""), Delivered()),
        (WebhookResponse(301, {}, b""), Failed("HTTP 301, a redirect, which is not followed")),
        (WebhookResponse(404, {}, b""), Failed("HTTP 404")),
        (WebhookResponse(410, {}, b""), Failed("HTTP 410", gone=True)),
        (WebhookResponse(429, {"retry-after": "7"}, b""), Failed("HTTP 429", asked=7)),
        (WebhookResponse(503, {"retry-after": "7"}, b""), Failed("HTTP 503", asked=7)),
        (NotSent("no answer"), Failed("no answer", unreachable=True)),
        (NotSent("within", refused=True), Failed("within", refused=True)),
    ],
)
def test_only_a_2xx_is_an_arrival_and_a_410_is_a_farewell(reply, outcome):
    assert classify_response(reply) == outcome


def test_a_job_s_webhook_is_tried_eight_times_in_a_day():
    assert [next_job_try(tries, 0.5) for tries in range(1, 9)] == [*JOB_WAITS, None]
    assert 27 * 3600 < sum(JOB_WAITS) < 28 * 3600


def test_a_wait_is_spread_and_what_the_server_asked_for_is_never_undercut_up_to_an_hour():
    assert (next_job_try(1, 0.0), next_job_try(1, 1.0)) == (4, 6)
    assert next_job_try(1, 0.0, asked=42) == 42
    assert next_job_try(2, 0.5, asked=42) == 300
    assert next_job_try(1, 0.5, asked=1e9) == 3600


def test_a_notice_is_tried_for_three_days_and_never_waits_longer_than_ten_minutes():
    waits = [next_notice_try(tries, 0, 0.5) for tries in range(1, 40)]
    assert waits[:4] == [5, 10, 20, 40]
    assert set(waits[8:]) == {600}
    assert next_notice_try(500, NOTICE_FOR - 600, 0.5) == 600
    assert next_notice_try(500, NOTICE_FOR - 599, 0.5) is None
    assert next_notice_try(10**6, 0, 0.5) == 600


def test_a_silent_host_is_left_alone_for_longer_and_longer_until_it_answers():
    now = [0.0]
    rests = HostBackoff(lambda: now[0])
    lengths = []
    for _ in range(9):
        rests.begin("a")
        rests.begin("a")  # several posts were under way
        lengths.append(rests.left("a"))
        assert rests.left("b") == 0
        now[0] += lengths[-1]
        assert rests.left("a") == 0
    assert lengths == [FIRST, 8, 16, 32, 64, 128, 256, MOST, MOST]
    rests.end("a")
    rests.begin("a")
    assert rests.left("a") == FIRST


def test_no_more_silent_hosts_are_remembered_than_may_be():
    rests = HostBackoff(lambda: 0.0)
    for number in range(MOST_HOSTS + 1):
        rests.begin(f"{number}")
    assert (rests.left("0"), rests.left("1")) == (0, FIRST)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_body_has_a_type_a_moment_and_the_data():
    told = json.loads(body("job.answered", 1700000000.5, {"id": "job-00001"}))
    assert told == {"type": "job.answered", "timestamp": "2023-11-14T22:13:20.500Z", "data": {"id": "job-00001"}}


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        ("a plain text", b"a plain text"),
        ("whsec_not base64!", b"whsec_not base64!"),
    ],
)
def test_the_signature_is_that_of_standard_webhooks(secret, key):
    told = headers("job:a:done", 1700000000.9, b'{"a":1}', secret)
    signed = f"{told['webhook-id']}.1700000000.".encode() + b'{"a":1}'
    assert told["webhook-timestamp"] == "1700000000"
    assert told["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def test_the_signature_of_the_specification_s_library_comes_out():
    """The vector of the reference implementations' tests."""
    told = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}', SECRET)
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_id_stays_the_same_for_every_try_and_is_that_of_one_event_only():
    one = headers("job:a:done:1", 1.0, b"x", SECRET)
    assert one["webhook-id"] == headers("job:a:done:1", 2.0, b"y", SECRET)["webhook-id"]
    assert one["webhook-id"] != headers("job:a:done:2", 1.0, b"x", SECRET)["webhook-id"]
    assert "." not in one["webhook-id"]


def test_the_verification_in_the_documents_takes_what_is_signed_and_nothing_else():
    page = (Path(__file__).resolve().parents[3] / "docs/webhooks.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told: dict[str, Any] = {}
    exec(snippet, told)
    payload = b'{"type":"job.answered"}'
    for secret in (SECRET, "a plain text"):
        signed = headers("job:a:done", time.time(), payload, secret)
        assert told["verify"](secret, signed, payload)
        assert not told["verify"](secret, signed, payload + b" ")
        assert not told["verify"](secret + "AAAB", signed, payload)
        assert not told["verify"](secret, {**signed, "webhook-id": "msg_0"}, payload)
    assert not told["verify"](SECRET, headers("job:a:done", time.time() - 301, payload, SECRET), payload)
