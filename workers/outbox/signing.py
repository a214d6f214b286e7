"""A webhook as Standard Webhooks describes it (spec/standard-webhooks.md of that project): its body, and who signed it.

The body is `{"type", "timestamp", "data"}`. `webhook-id` stays the same however often an event is posted, and tells it
from every other; `webhook-timestamp` is that of the try, in whole seconds; the signature is HMAC-SHA256 over
`{id}.{timestamp}.{body}`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import Any

from pydantic_core import to_json

PREFIX = "whsec_"


def body(kind: str, at: float, data: Mapping[str, Any]) -> bytes:
    """The body of an event that happened `at` (epoch seconds)."""
    return to_json({"type": kind, "timestamp": iso(at), "data": data})


def headers(event: str, now: float, payload: bytes, secret: str) -> dict[str, str]:
    """The headers of one try. `event` names what happened, and nothing else is named so."""
    msg_id = "msg_" + blake2b(event.encode(), digest_size=12).hexdigest()
    timestamp = str(int(now))
    return {
        "webhook-id": msg_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(msg_id, timestamp, payload, secret),
    }


def signature(msg_id: str, timestamp: str, payload: bytes, secret: str) -> str:
    """`v1,` and the signature in base64."""
    signed = b".".join((msg_id.encode(), timestamp.encode(), payload))
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, sha256)).decode()


def iso(at: float) -> str:
    """A moment in ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(secret: str) -> bytes:
    """The bytes of a secret: `whsec_` and base64, or its own text."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()
