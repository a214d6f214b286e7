"""Sends notices to Discord: one message per incident, which is kept up to date, and one when it is over.

After Discord's documentation (Webhook Resource, Message Resource: embed limits, Rate Limits). Discord has no
idempotency key: if a worker is killed after Discord's response and before it records the delivery, the next worker
posts the message again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from yarl import URL

from openfall.router_core.printable import escape_controls
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.outbox import NoticeKind
from openfall.router_core.vocabulary import HoldReason
from openfall.workers.outbox.delivery_result import (
    Deferred,
    Delivered,
    DeliveryResult,
    Failed,
    WebhookResponse,
    classify_response,
)
from openfall.workers.outbox.notifiers.wording import (
    REMEDY_LABELS,
    Notice,
    action_title,
    advice,
    format_counts,
    summary,
    title,
)
from openfall.workers.outbox.retry_schedule import MAX_RETRY_AFTER_SECONDS
from openfall.workers.outbox.sender import Sender

RED, AMBER, GREEN, GREY = 0xD92D20, 0xF79009, 0x12B76A, 0x667085

MAX_TITLE, MAX_TEXT, MAX_FOOTER = 256, 700, 256
"""Lengths in characters. Discord permits 256 for a title, 4,096 for a description, 1,024 for each of 25 fields, 2,048
for a footer, and 6,000 in all: seven texts of 700 stay below that."""

MAX_ERROR_LENGTH = 200
"""Characters of Discord's own words that a reason repeats."""

_UNEDITABLE = (400, 403, 404)
"""The statuses of an edit whose message was deleted, is in an archived thread, or is edited too often."""


@dataclass(slots=True, kw_only=True)
class DiscordNotifier:
    """Notifies one channel or thread. `clock` is monotonic, in seconds."""

    url: str
    sender: Sender
    update_interval_seconds: float = 10.0
    clock: Callable[[], float] = time.monotonic
    _paused_until: float = field(default=0.0, init=False)

    async def notify(self, notice: Notice) -> DeliveryResult:
        """Post a message, or edit the existing one. While Discord's rate limit lasts, nothing is sent."""
        if (pause := self._paused_until - self.clock()) > 0:
            return Deferred(pause)
        if notice.kind is not NoticeKind.UPDATE:
            return self._read_result(await self._post(render(notice)))
        message_id = notice.incident.messages.get("discord", "")
        if not message_id:
            return Delivered()  # posted, but Discord gave no id: a second message would be worse than an outdated one
        response = await self._edit(notice, message_id)
        if isinstance(response, WebhookResponse) and response.status in _UNEDITABLE:
            response = await self._post(render(notice))  # a refusal of the webhook itself is repeated, in its own words
        return self._read_result(response)

    async def announce_action(self, entry: str, action: AuditEntry, now: float) -> DeliveryResult:
        """Post what an operator did."""
        if (pause := self._paused_until - self.clock()) > 0:
            return Deferred(pause)
        return self._read_result(await self._post(render_action(action)))

    async def _post(self, message: dict[str, Any]) -> WebhookResponse | Failed:
        url = str(URL(self.url).update_query(wait="true"))
        return await self.sender.send(url, to_json(message), {})

    async def _edit(self, notice: Notice, message_id: str) -> WebhookResponse | Failed:
        url = URL(self.url)
        message_url = str(url.with_path(f"{url.path.rstrip('/')}/messages/{message_id}").with_query(url.query))
        return await self.sender.send(message_url, to_json(render(notice)), {}, method="PATCH")

    def _read_result(self, response: WebhookResponse | Failed) -> DeliveryResult:
        if isinstance(response, Failed):
            return response
        result, document = classify_response(response), _read_document(response.body)
        pause = _rate_limit_pause(response, document)
        self._paused_until = max(self._paused_until, self.clock() + pause)
        if isinstance(result, Delivered):
            return Delivered(message_id=str(document.get("id", "")))
        # `gone` is not passed on: Discord answers 404 for a deleted webhook, and the operator may configure another.
        return Failed(f"{result.reason}{_words(document)}", max(result.retry_after or 0.0, pause) or None)


def render(notice: Notice) -> dict[str, Any]:
    """The message: one embed, without mentions."""
    incident = notice.incident
    fields = [
        ("Since", f"<t:{incident.began_at:.0f}:f> (<t:{incident.began_at:.0f}:R>)"),
        ("Jobs", format_counts(incident.urgencies)),
        ("Models", format_counts(incident.models)),
        ("Causes", format_counts(incident.causes)),
        ("Callers saw", format_counts(incident.remedies, REMEDY_LABELS)),
        ("What to do", "" if notice.kind is NoticeKind.RECOVERED else advice(incident)),
    ]
    embed = {
        "title": clip(title(notice), MAX_TITLE),
        "description": clip(summary(notice), MAX_TEXT),
        "color": _colour(notice),
        "fields": [{"name": name, "value": clip(text, MAX_TEXT), "inline": False} for name, text in fields if text],
        "footer": {"text": clip(incident.id, MAX_FOOTER)},
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def render_action(action: AuditEntry) -> dict[str, Any]:
    """The message about an action: one embed, without mentions."""
    lines = [action.effect, f"Why: {action.why}" if action.why else "", f"<t:{action.at:.0f}:R>, by {action.via}"]
    embed = {
        "title": clip(action_title(action), MAX_TITLE),
        "description": clip("\n".join(filter(None, lines)), MAX_TEXT),
        "color": GREY,
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def clip(text: str, max_length: int) -> str:
    """The text, cut to `max_length` characters as Discord counts them (UTF-16), with an ellipsis."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * max_length:
        return text
    return units[: 2 * (max_length - 1)].decode("utf-16-le", "ignore") + "…"


def _colour(notice: Notice) -> int:
    if notice.kind is NoticeKind.RECOVERED:
        return GREEN
    return RED if notice.incident.reason == HoldReason.OUTAGE else AMBER


def _read_document(body: bytes) -> dict[str, Any]:
    try:
        document = from_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _words(document: dict[str, Any]) -> str:
    """Discord's own words about an error, such as `: Unknown Webhook (10015)`, with the first field that is wrong."""
    message, code, place, errors = document.get("message"), document.get("code"), [], document.get("errors")
    if not isinstance(message, str):
        return ""
    while isinstance(errors, dict) and errors and "_errors" not in errors:
        name, errors = next(iter(errors.items()))
        place.append(str(name))
    wrong = errors.get("_errors") if isinstance(errors, dict) else None
    first = wrong[0] if isinstance(wrong, list) and wrong else None
    text = first.get("message") if isinstance(first, dict) else ""
    field = f": {'.'.join(place)}: {text}" if text else ""
    number = f" ({code})" if isinstance(code, int) and code else ""
    return escape_controls(f": {message}{number}{field}"[:MAX_ERROR_LENGTH])


def _rate_limit_pause(response: WebhookResponse, document: dict[str, Any]) -> float:
    """Seconds until Discord accepts the next request: after a 429, or when the limit is used up."""
    if response.status == 429:
        return _longest(document.get("retry_after"), response.headers.get("retry-after"))
    if response.headers.get("x-ratelimit-remaining") == "0":
        return _longest(response.headers.get("x-ratelimit-reset-after"))
    return 0.0


def _longest(*values: object) -> float:
    """The largest of the values that are numbers, limited to `MAX_RETRY_AFTER_SECONDS`."""
    numbers = [0.0]
    for value in values:
        try:
            numbers.append(float(str(value)))
        except ValueError:
            continue
    return min(max(number for number in numbers if number == number), MAX_RETRY_AFTER_SECONDS)
