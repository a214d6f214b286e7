"""Notices for a program: signed like the webhooks of jobs (see `workers/post_office/signing.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openfall.router_core.state.outbox import NoticeKind
from openfall.workers.outbox.delivery import Outcome, classify_response
from openfall.workers.outbox.notifiers.wording import (
    Notice,
    summary,
    title,
    what_to_do,
)
from openfall.workers.outbox.sender import Sender, WebhookRequest
from openfall.workers.outbox.signing import body, headers, iso

EVENTS = {
    NoticeKind.BEGAN: "incident.began",
    NoticeKind.UPDATE: "incident.updated",
    NoticeKind.RECOVERED: "incident.recovered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotifier:
    """Tells one URL of the operator's."""

    url: str
    secret: str
    sender: Sender
    update_every: float

    async def tell(self, notice: Notice) -> Outcome:
        """Every update is an event of its own, so its version is part of its id."""
        version = f":{notice.incident.version}" if notice.kind is NoticeKind.UPDATE else ""
        payload = body(EVENTS[notice.kind], _when(notice), _data(notice))
        signed = headers(notice.entry + version, notice.now, payload, self.secret)
        return classify_response(await self.sender.send(WebhookRequest(url=self.url, body=payload, headers=signed)))


def _when(notice: Notice) -> float:
    one = notice.incident
    return {NoticeKind.BEGAN: one.began_at, NoticeKind.UPDATE: one.last_fall_at}.get(
        notice.kind, one.ended_at or notice.now
    )


def _data(notice: Notice) -> dict[str, Any]:
    one = notice.incident
    return {
        "id": one.id,
        "reason": one.reason,
        "title": title(notice),
        "text": summary(notice),
        "to_do": what_to_do(one),
        "began": iso(one.began_at),
        "last": iso(one.last_fall_at),
        "ended": None if one.ended_at is None else iso(one.ended_at),
        **{name: getattr(one, name) for name in ("falls", "held", "replayed", "expired")},
        **{name: dict(getattr(one, name)) for name in ("urgencies", "models", "causes", "seen")},
        "unmentioned": notice.unmentioned,
    }
