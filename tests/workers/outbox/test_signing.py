"""How a webhook is built and signed."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from openfall.workers.outbox.signing import event_body, sign, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_body_has_a_type_a_timestamp_and_the_data():
    document = json.loads(event_body("job.answered", 1700000000.5, {"id": "job-00001"}))
    assert document == {"type": "job.answered", "timestamp": "2023-11-14T22:13:20.500Z", "data": {"id": "job-00001"}}


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        ("a plain text", b"a plain text"),
        ("whsec_not base64!", b"whsec_not base64!"),
    ],
)
def test_the_signature_follows_standard_webhooks(secret, key):
    headers = signed_headers("job:a:done", 1700000000.9, b'{"a":1}', secret)
    signed = f"{headers['webhook-id']}.1700000000.".encode() + b'{"a":1}'
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def test_the_signature_equals_that_of_the_reference_library():
    """The vector of the reference implementations' tests."""
    signature = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}', SECRET)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_id_is_the_same_for_every_attempt_and_unique_to_the_event():
    first = signed_headers("job:a:done:1", 1.0, b"x", SECRET)
    assert first["webhook-id"] == signed_headers("job:a:done:1", 2.0, b"y", SECRET)["webhook-id"]
    assert first["webhook-id"] != signed_headers("job:a:done:2", 1.0, b"x", SECRET)["webhook-id"]
    assert "." not in first["webhook-id"]


def test_the_verification_in_the_documentation_accepts_only_signed_bodies():
    page = (Path(__file__).resolve().parents[3] / "docs/webhooks.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(snippet, namespace)
    payload = b'{"type":"job.answered"}'
    for secret in (SECRET, "a plain text"):
        signed = signed_headers("job:a:done", time.time(), payload, secret)
        assert namespace["verify"](secret, signed, payload)
        assert not namespace["verify"](secret, signed, payload + b" ")
        assert not namespace["verify"](secret + "AAAB", signed, payload)
        assert not namespace["verify"](secret, {**signed, "webhook-id": "msg_0"}, payload)
    assert not namespace["verify"](SECRET, signed_headers("job:a:done", time.time() - 301, payload, SECRET), payload)
