"""Sends notices to the operator's own webhook, signed like the webhooks of jobs (see `workers/outbox/signing.py`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.outbox import NoticeKind
from openfall.workers.outbox.delivery_result import DeliveryResult, classify_response
from openfall.workers.outbox.notifiers.wording import Notice, advice, summary, title
from openfall.workers.outbox.sender import Sender
from openfall.workers.outbox.signing import event_body, signed_headers, utc_time

EVENTS = {
    NoticeKind.BEGAN: "incident.began",
    NoticeKind.UPDATE: "incident.updated",
    NoticeKind.RECOVERED: "incident.recovered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotifier:
    """Notifies one URL of the operator."""

    url: str
    secret: str
    sender: Sender
    update_interval_seconds: float

    async def notify(self, notice: Notice) -> DeliveryResult:
        """Post the notice. Every update is an event of its own, so its version is part of its id."""
        version = f":{notice.incident.version}" if notice.kind is NoticeKind.UPDATE else ""
        body = event_body(EVENTS[notice.kind], _event_time(notice), _event_data(notice))
        headers = signed_headers(notice.entry + version, notice.now, body, self.secret)
        return classify_response(await self.sender.send(self.url, body, headers))

    async def announce_action(self, entry: str, action: AuditEntry, now: float) -> DeliveryResult:
        """Post what an operator did."""
        body = event_body("operator.action", action.at, {**asdict(action), "at": utc_time(action.at)})
        headers = signed_headers(entry, now, body, self.secret)
        return classify_response(await self.sender.send(self.url, body, headers))


def _event_time(notice: Notice) -> float:
    incident = notice.incident
    if notice.kind is NoticeKind.BEGAN:
        return incident.began_at
    if notice.kind is NoticeKind.UPDATE:
        return incident.last_fall_at
    return incident.ended_at or notice.now


def _event_data(notice: Notice) -> dict[str, Any]:
    incident = notice.incident
    return {
        "id": incident.id,
        "reason": incident.reason,
        "title": title(notice),
        "text": summary(notice),
        "to_do": advice(incident),
        "began": utc_time(incident.began_at),
        "last": utc_time(incident.last_fall_at),
        "ended": None if incident.ended_at is None else utc_time(incident.ended_at),
        **{name: getattr(incident, name) for name in ("falls", "held", "replayed", "expired")},
        **{name: dict(getattr(incident, name)) for name in ("urgencies", "models", "causes")},
        "seen": dict(incident.remedies),
        "unmentioned": notice.unmentioned,
    }
