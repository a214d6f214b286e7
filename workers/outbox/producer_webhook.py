"""What is posted to a producer at the end of its job or batch."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.jobs.response_status import response_id, response_status
from openfall.router_core.state.batches import Batch
from openfall.router_core.state.outbox import DONE, JobEntry, JobNotification
from openfall.workers.outbox.signing import event_body, openai_event


@dataclass(frozen=True, slots=True)
class Webhook:
    """What is posted to a producer. `event` is unique to the event, and the same for each try."""

    url: str
    event: str
    body: bytes


def webhook_of_job(entry: str, job_entry: JobEntry, notification: JobNotification) -> Webhook | None:
    """The event of a job, or of a Response in the form of OpenAI's webhooks. None: the Response is still queued."""
    result, at = notification.result, notification.at
    event = f"{entry}:{at:.3f}"  # a replayed job ends, or is held, once more
    if not notification.is_response:
        data = {**result.as_json(), "reply_to": notification.reply_to}
        return Webhook(notification.url, event, event_body(f"job.{result.status}", at, data))
    if job_entry.kind != DONE:
        return None
    body = openai_event(f"response.{response_status(result)}", at, response_id(result.id))
    return Webhook(notification.url, event, body)


def webhook_of_batch(entry: str, batch: Batch, url: str) -> Webhook:
    """The end of a batch, in the form of OpenAI's webhooks."""
    body = openai_event(f"batch.{batch.status}", batch.moments.get(batch.status, 0.0), batch.terms.id)
    return Webhook(url, entry, body)
