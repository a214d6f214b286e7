"""The secret that signs webhooks: its forms and its lengths. No message shows it."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error

from openfall.config.redact import MASK
from openfall.config.scalars import FieldType
from openfall.config.webhook_addresses import secret_reader

_SECRET_PREFIX = "whsec_"

_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64
"""Of an encoded signing secret, by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

_MIN_SECRET_CHARACTERS = 16
"""Of a signing secret that is plain text."""


def _can_sign(text: str) -> bool:
    encoded = text.removeprefix(_SECRET_PREFIX)
    if encoded == text:
        return len(text) >= _MIN_SECRET_CHARACTERS
    return _MIN_SECRET_BYTES <= _bytes_in(encoded) <= _MAX_SECRET_BYTES


def _bytes_in(encoded: str) -> int:
    try:
        return len(b64decode(encoded, validate=True))
    except (Error, ValueError):
        return 0


signing_secret: FieldType[str] = FieldType(
    secret_reader(
        _can_sign,
        f"{_SECRET_PREFIX} and {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes in base64, "
        f"or at least {_MIN_SECRET_CHARACTERS} characters of any text",
        f"Make one: echo {_SECRET_PREFIX}$(openssl rand -base64 32)",
    ),
    {"type": "string"},
    lambda text: MASK,
)
"""The secret that signs webhooks."""
