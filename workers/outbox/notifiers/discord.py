"""Notices for people on Discord: one message an incident, kept up to date, and one when it is over.

After Discord's documentation (Webhook Resource, Message Resource: embed limits, Rate Limits). Discord takes no key that
would tell it a message posted twice: a worker killed between its answer and our writing that down posts it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from yarl import URL

from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.state.outbox import NoticeKind
from openfall.workers.outbox.delivery import (
    MOST_ASKED,
    Deferred,
    Delivered,
    Failed,
    Outcome,
    classify_response,
)
from openfall.workers.outbox.notifiers.wording import (
    SEEN,
    Notice,
    listed,
    summary,
    title,
    what_to_do,
)
from openfall.workers.outbox.sender import (
    NotSent,
    Sender,
    WebhookRequest,
    WebhookResponse,
)

RED, AMBER, GREEN = 0xD92D20, 0xF79009, 0x12B76A
TITLE, DESCRIPTION, NAME, VALUE, FOOTER, FIELDS = 256, 4096, 256, 1024, 2048, 25
"""Discord's limits of an embed, in characters, and its fields; 6,000 characters in all. Seven fields of ours with 700
characters at the most keep that."""
OURS = 700

UNKNOWN_MESSAGE = 10008
"""Discord's code: somebody has deleted the message."""


@dataclass(slots=True, kw_only=True)
class DiscordNotifier:
    """Tells one channel or thread. `clock` is monotonic, in seconds."""

    url: str
    sender: Sender
    update_every: float = 10.0
    clock: Callable[[], float] = time.monotonic
    _rests_until: float = field(default=0.0, init=False)

    async def tell(self, notice: Notice) -> Outcome:
        """Post a message, or change the one that there is. While Discord wants a rest, nothing is tried."""
        left = self._rests_until - self.clock()
        if left > 0:
            return Deferred(left)
        message = notice.incident.messages.get("discord", "")
        if notice.kind is not NoticeKind.UPDATE:
            return self._outcome(await self._post(notice))
        if not message:
            return Delivered()  # told, but Discord did not say as what: a second message would be worse than an old one
        reply = await self._change(notice, message)
        if _code(reply) == UNKNOWN_MESSAGE:
            reply = await self._post(notice)
        return self._outcome(reply)

    async def _post(self, notice: Notice) -> WebhookResponse | NotSent:
        url = str(URL(self.url).update_query(wait="true"))
        return await self.sender.send(WebhookRequest(url=url, body=to_json(rendered(notice))))

    async def _change(self, notice: Notice, message: str) -> WebhookResponse | NotSent:
        url = URL(self.url)
        place = str(url.with_path(f"{url.path.rstrip('/')}/messages/{message}").with_query(url.query))
        return await self.sender.send(WebhookRequest(url=place, body=to_json(rendered(notice)), method="PATCH"))

    def _outcome(self, reply: WebhookResponse | NotSent) -> Outcome:
        found = classify_response(reply)
        told = _document(reply)
        wait = _rest(reply, told)
        self._rests_until = max(self._rests_until, self.clock() + wait)
        if isinstance(found, Delivered):
            return Delivered(message=str(told.get("id", "")), pause=wait)
        asked = max(found.asked or 0.0, wait)
        # Discord says 404 of a webhook that somebody deleted, and 410 of nothing: the operator may name another one.
        return Failed(found.why, asked=asked or None, refused=found.refused, unreachable=found.unreachable)


def rendered(notice: Notice) -> dict[str, Any]:
    """The message: one embed, that mentions nobody."""
    one = notice.incident
    fields = [
        ("Since", f"<t:{one.began_at:.0f}:f> (<t:{one.began_at:.0f}:R>)"),
        ("Jobs", listed(one.urgencies)),
        ("Models", listed(one.models)),
        ("Causes", listed(one.causes)),
        ("Callers saw", listed(one.remedies, SEEN)),
        ("What to do", "" if notice.kind is NoticeKind.RECOVERED else what_to_do(one)),
    ]
    embed = {
        "title": clipped(title(notice), TITLE),
        "description": clipped(summary(notice), OURS),
        "color": _colour(notice),
        "fields": [{"name": name, "value": clipped(value, OURS), "inline": False} for name, value in fields if value],
        "footer": {"text": clipped(one.id, NAME)},
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def clipped(text: str, most: int) -> str:
    """A text of `most` characters as Discord counts them (UTF-16), with an ellipsis where it was cut."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * most:
        return text
    return units[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def _colour(notice: Notice) -> int:
    if notice.kind is NoticeKind.RECOVERED:
        return GREEN
    return RED if notice.incident.reason == HoldReason.OUTAGE else AMBER


def _document(reply: WebhookResponse | NotSent) -> dict[str, Any]:
    if isinstance(reply, NotSent):
        return {}
    try:
        told = from_json(reply.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _code(reply: WebhookResponse | NotSent) -> object:
    return _document(reply).get("code") if isinstance(reply, WebhookResponse) and reply.status == 404 else None


def _rest(reply: WebhookResponse | NotSent, told: dict[str, Any]) -> float:
    """Seconds for which Discord wants to hear nothing: of a 429, or because what it allows is used up."""
    if isinstance(reply, NotSent):
        return 0.0
    if reply.status == 429:
        return _seconds(told.get("retry_after"), reply.headers.get("retry-after"))
    if reply.headers.get("x-ratelimit-remaining") == "0":
        return _seconds(reply.headers.get("x-ratelimit-reset-after"))
    return 0.0


def _seconds(*told: object) -> float:
    """The longest of them; what is no number says nothing."""
    found = [0.0]
    for one in told:
        try:
            found.append(float(str(one)))
        except ValueError:
            continue
    return min(max(number for number in found if number == number), MOST_ASKED)
