"""Builds and signs webhooks as Standard Webhooks specifies (spec/standard-webhooks.md of that project).

The body is `{"type", "timestamp", "data"}`. `webhook-id` identifies the event and is the same for every attempt;
`webhook-timestamp` is the time of the attempt in whole seconds; the signature is HMAC-SHA256 over
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

SECRET_PREFIX = "whsec_"


def event_body(event_type: str, timestamp: float, data: Mapping[str, Any]) -> bytes:
    """The body of an event. `timestamp` (epoch seconds) is when it happened."""
    return to_json({"type": event_type, "timestamp": utc_time(timestamp), "data": data})


def openai_event(event_type: str, timestamp: float, subject_id: str) -> bytes:
    """The body of an event in the form of OpenAI's webhooks. Its id follows from what it is about, and when it was."""
    event_id = "evt_" + blake2b(f"{event_type} {subject_id} {timestamp:.3f}".encode(), digest_size=12).hexdigest()
    event = {"object": "event", "id": event_id, "type": event_type, "created_at": int(timestamp)}
    return to_json({**event, "data": {"id": subject_id}})


def signed_headers(event: str, now: float, body: bytes, secret: str) -> dict[str, str]:
    """The headers of one attempt. `event` must be unique to the event."""
    message_id = "msg_" + blake2b(event.encode(), digest_size=12).hexdigest()
    timestamp = str(int(now))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(message_id, timestamp, body, secret),
    }


def sign(message_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """`v1,` and the signature in base64."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, sha256)).decode()


def utc_time(timestamp: float) -> str:
    """An epoch time in ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(secret: str) -> bytes:
    """The key bytes of a secret: `whsec_` and base64, or the text itself."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()
