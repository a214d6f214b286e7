"""The response to one delivery attempt, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openfall.workers.backends.retry_after import retry_after


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """The server's response. Header names are in lower case; `body` is bounded, and may be only its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server accepted it. `message_id` is the notifier's id of the message, if it has one."""

    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `retry_after`: seconds that the server requested. `gone`: the server wants no more (410).
    `refused`: the URL policy forbids it, and the reason has the remedy. `unreachable`: the host did not answer."""

    reason: str
    retry_after: float | None = None
    gone: bool = False
    refused: bool = False
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """It was not attempted: the server accepts nothing for `seconds`."""

    seconds: float


DeliveryResult = Delivered | Failed | Deferred


def classify_response(response: WebhookResponse | Failed) -> Delivered | Failed:
    """What a response means, after Standard Webhooks. 2xx: delivered; 410: stop sending; all others: failed."""
    if isinstance(response, Failed):
        return response
    if 200 <= response.status < 300:
        return Delivered()
    redirect = ", a redirect, which is not followed" if 300 <= response.status < 400 else ""
    return Failed(
        f"HTTP {response.status}{redirect}", retry_after=retry_after(response.headers), gone=response.status == 410
    )
