"""Delivers the entries of the outbox, several at a time, and retries each until it is delivered or given up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec

from openfall.router_core.batch_rules.batch_status import ENDED
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.state import outbox
from openfall.router_core.state.audit_log import read_entry
from openfall.router_core.state.batches import fetch_batch
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.outbox import (
    DONE,
    ActionEntry,
    BatchEntry,
    ClaimedEntry,
    JobEntry,
    NoticeEntry,
    NoticeRate,
)
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox import signing
from openfall.workers.outbox.delivery_result import Deferred, Delivered, DeliveryResult, Failed, classify_response
from openfall.workers.outbox.host_backoff import HostBackoff
from openfall.workers.outbox.notifiers.wording import Notice
from openfall.workers.outbox.outbox_settings import OutboxSettings, open_notifiers
from openfall.workers.outbox.producer_webhook import Webhook, webhook_of_batch, webhook_of_job
from openfall.workers.outbox.retry_schedule import NOTICE_GIVE_UP_SECONDS, job_retry_delay, notice_retry_delay
from openfall.workers.outbox.sender import Sender
from openfall.workers.outbox.webhook_url_check import TRUSTED, host_and_port

OUTBOX_INTERVAL_SECONDS = 0.5

log = logging.getLogger("openfall.outbox")

P = ParamSpec("P")

MAX_CONCURRENT_DELIVERIES = 8

RECORD_TIMEOUT_SECONDS = 40.0
"""How long a worker tries to record a delivery while Redis is away. It ends before the entry's lease does."""

UNREADABLE_RETRY_SECONDS = 60.0
"""Delay before the next look at an entry that only a newer openfall can read."""

MAX_LOGGED_REFUSALS = 1000
"""Refusals that are remembered, so that each is logged once."""


class OutboxDispatcher:
    """Delivers due entries. `jitter` in [0, 1] spreads the retries; `clock` is monotonic. It belongs to one event
    loop."""

    def __init__(
        self,
        link: RedisConnection,
        settings: OutboxSettings,
        jitter: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._settings, self._jitter = link, settings, jitter
        self._sender, self._trusted_sender = Sender(settings.url_policy), Sender(TRUSTED)
        self._notifiers = open_notifiers(settings, self._trusted_sender, clock)
        self._host_backoff = HostBackoff(clock)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._logged_refusals: set[str] = set()

    async def dispatch(self) -> None:
        """Claim and deliver until no entry is due, or as many deliveries as permitted are in flight.

        The deliveries continue after it returns: one that hangs holds up no other. Raises a `StoreError`.
        """
        while free := MAX_CONCURRENT_DELIVERIES - len(self._deliveries):
            entries = await outbox.claim_entries(self._link, free)
            for entry in entries:
                task = asyncio.create_task(self._deliver(entry), name=entry.entry)
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)
            if len(entries) < free:
                return
            await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)

    async def wait_idle(self) -> None:
        """Return when no delivery is in flight."""
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def close(self) -> None:
        """Cancel the deliveries in flight: another worker claims them when their lease ends."""
        await cancel_all(*self._deliveries)
        await self._sender.close()
        await self._trusted_sender.close()

    async def _deliver(self, claimed: ClaimedEntry) -> None:
        try:
            await self._deliver_subject(claimed)
        except StoreUnreachable:
            log.debug("%s: Redis is unreachable; the entry is claimed again later", claimed.entry)
        except StoreError as error:
            log.warning("%s: %s", claimed.entry, error)
        except Exception:  # a bug here must not stop the other deliveries
            log.exception("%s: internal error; the entry is claimed again later", claimed.entry)

    async def _deliver_subject(self, claimed: ClaimedEntry) -> None:
        match claimed.subject:
            case JobEntry() as job_entry:
                await self._deliver_job(claimed, job_entry)
            case BatchEntry() as batch_entry:
                await self._deliver_batch(claimed, batch_entry)
            case NoticeEntry() as notice_entry:
                await self._deliver_notice(claimed, notice_entry)
            case ActionEntry() as action_entry:
                await self._deliver_action(claimed, action_entry)
            case None:
                await self._keep_unknown(claimed)

    async def _keep_unknown(self, claimed: ClaimedEntry) -> None:
        """An entry of an unknown kind may be one of a newer openfall: another worker delivers it, or none ever does."""
        if claimed.now - claimed.first_claimed_at > NOTICE_GIVE_UP_SECONDS:
            await self._record(outbox.mark_dead, claimed, "", "no worker knows this kind of entry")
            return
        if claimed.now == claimed.first_claimed_at:
            log.warning("%s: unknown kind of outbox entry: it is left to a newer worker", claimed.entry)
        await self._record(outbox.defer_entry, claimed, UNREADABLE_RETRY_SECONDS)

    async def _deliver_job(self, claimed: ClaimedEntry, job_entry: JobEntry) -> None:
        try:
            notification = await outbox.read_notification(self._link, job_entry)
        except UnreadableEnvelope as error:
            log.warning("%s: %s", claimed.entry, error)
            await self._record(outbox.defer_entry, claimed, UNREADABLE_RETRY_SECONDS)
            return
        if notification is None:
            await self._drop_outdated(claimed, job_entry)
            return
        webhook = webhook_of_job(claimed.entry, job_entry, notification)
        if webhook is None:
            await self._record(outbox.mark_delivered, claimed)
        else:
            await self._deliver_webhook(claimed, webhook)

    async def _deliver_batch(self, claimed: ClaimedEntry, batch_entry: BatchEntry) -> None:
        batch = await fetch_batch(self._link, batch_entry.batch_id)
        if batch is None or batch.terms.webhook is None or batch.status not in ENDED:
            await self._record(outbox.mark_delivered, claimed)
            return
        await self._deliver_webhook(claimed, webhook_of_batch(claimed.entry, batch, batch.terms.webhook))

    async def _deliver_webhook(self, claimed: ClaimedEntry, webhook: Webhook) -> None:
        host = host_and_port(webhook.url)
        result = await self._post(claimed, webhook, host)
        if isinstance(result, Delivered):
            await self._record(outbox.mark_delivered, claimed)
        elif isinstance(result, Deferred):
            await self._defer(claimed, result)
        else:
            delay = job_retry_delay(claimed.tries + 1, self._jitter(), result.retry_after)
            await self._record_failure(claimed, host, result, delay)

    async def _drop_outdated(self, claimed: ClaimedEntry, job_entry: JobEntry) -> None:
        """Remove an entry whose job was requeued since, or whose result expired before it could be delivered."""
        if job_entry.kind == DONE and await outbox.is_forgotten(self._link, job_entry):
            reason = "its result has expired"
            log.error("%s: given up after %d tries: %s", claimed.entry, claimed.tries, reason)
            await self._record(outbox.mark_dead, claimed, "", reason)
        else:
            await self._record(outbox.mark_delivered, claimed)

    async def _post(self, claimed: ClaimedEntry, webhook: Webhook, host: str) -> DeliveryResult:
        """Post to a producer's URL, unless its host is paused."""
        pause = self._host_backoff.remaining(host)
        if pause:
            return Deferred(pause)
        result = await self._send(claimed, webhook)
        if isinstance(result, Failed) and result.unreachable:
            self._host_backoff.record_failure(host)
        else:
            self._host_backoff.record_answer(host)
        return result

    async def _send(self, claimed: ClaimedEntry, webhook: Webhook) -> Delivered | Failed:
        if not self._settings.secret:
            return Failed("webhooks must be signed and no secret is configured: set `webhooks: secret`", refused=True)
        headers = signing.signed_headers(webhook.event, claimed.now, webhook.body, self._settings.secret)
        return classify_response(await self._sender.send(webhook.url, webhook.body, headers))

    async def _deliver_notice(self, claimed: ClaimedEntry, notice_entry: NoticeEntry) -> None:
        notifier = self._notifiers.get(notice_entry.notifier)
        if notifier is None:
            log.info("%s: this notifier is not configured; removed", claimed.entry)
            await self._record(outbox.mark_delivered, claimed)
            return
        update_interval = notifier.update_interval_seconds
        max_notices, interval = self._settings.rate_limit
        rate = NoticeRate(
            max_notices=max_notices, interval_seconds=interval, update_interval_seconds=update_interval,
            notify_recovery=self._settings.notify_recovery,
        )  # fmt: skip
        admission = await outbox.admit_notice(self._link, claimed, rate)
        if admission is None:
            return
        notice = Notice(
            entry=claimed.entry, kind=notice_entry.kind, incident=admission.incident,
            unmentioned=admission.unmentioned, now=admission.now,
        )  # fmt: skip
        result = await notifier.notify(notice)
        if isinstance(result, Delivered):
            await self._record(outbox.record_notified, claimed, admission, result.message_id, update_interval)
        else:
            await self._postpone_notice(claimed, notice_entry.notifier, result)

    async def _deliver_action(self, claimed: ClaimedEntry, action_entry: ActionEntry) -> None:
        notifier = self._notifiers.get(action_entry.notifier)
        action = None if notifier is None else await read_entry(self._link, action_entry.action)
        if notifier is None or action is None:
            await self._record(outbox.mark_delivered, claimed)
            return
        result = await notifier.announce_action(claimed.entry, action, claimed.now)
        if isinstance(result, Delivered):
            await self._record(outbox.mark_delivered, claimed)
        else:
            await self._postpone_notice(claimed, action_entry.notifier, result)

    async def _postpone_notice(self, claimed: ClaimedEntry, notifier: str, result: Failed | Deferred) -> None:
        if isinstance(result, Deferred):
            await self._defer(claimed, result)
            return
        age = claimed.now - claimed.first_claimed_at
        delay = notice_retry_delay(claimed.tries + 1, age, self._jitter(), result.retry_after)
        await self._record_failure(claimed, notifier, result, delay)

    async def _defer(self, claimed: ClaimedEntry, deferred: Deferred) -> None:
        delay = deferred.seconds * (1 + 0.2 * self._jitter())
        await self._record(outbox.defer_entry, claimed, delay)

    async def _record_failure(self, claimed: ClaimedEntry, target: str, failed: Failed, delay: float | None) -> None:
        """Schedule a retry in `delay` seconds; None: give up. `target` is the part of the URL that may be shown."""
        if failed.gone or delay is None:
            log.error("%s: given up after %d tries at %s: %s", claimed.entry, claimed.tries + 1, target, failed.reason)
            await self._record(outbox.mark_dead, claimed, target, failed.reason)
            return
        if not failed.refused:
            log.warning("%s: not delivered to %s: %s; retry in %.0f s", claimed.entry, target, failed.reason, delay)
        elif failed.reason not in self._logged_refusals:
            if len(self._logged_refusals) >= MAX_LOGGED_REFUSALS:
                self._logged_refusals.clear()
            self._logged_refusals.add(failed.reason)
            log.error("%s: not posted: %s", claimed.entry, failed.reason)
        await self._record(outbox.retry_entry, claimed, delay, failed.reason)

    async def _record(
        self,
        write: Callable[Concatenate[RedisConnection, ClaimedEntry, P], Awaitable[bool]],
        claimed: ClaimedEntry,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Record a delivery, and keep trying while Redis is away: what was posted is not posted again."""
        try:
            async with asyncio.timeout(RECORD_TIMEOUT_SECONDS):
                while True:
                    try:
                        await write(self._link, claimed, *args, **kwargs)
                        return
                    except StoreUnreachable:
                        await asyncio.sleep(0.5)
        except TimeoutError:
            raise StoreUnreachable(f"Redis was unreachable for {RECORD_TIMEOUT_SECONDS:.0f} s") from None
