"""The post office: what the outbox holds is posted, several at a time, and tried again until it is delivered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.state import outbox
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.outbox import (
    DONE,
    ClaimedEntry,
    JobEntry,
    JobNotification,
    NoticeEntry,
    NoticeRate,
)
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox import signing
from openfall.workers.outbox.delivery import (
    Deferred,
    Delivered,
    Failed,
    Outcome,
    classify_response,
    next_job_try,
    next_notice_try,
)
from openfall.workers.outbox.host_backoff import HostBackoff
from openfall.workers.outbox.notifiers.discord import DiscordNotifier
from openfall.workers.outbox.notifiers.webhook import WebhookNotifier
from openfall.workers.outbox.notifiers.wording import Notice, Notifier
from openfall.workers.outbox.sender import Sender, WebhookRequest
from openfall.workers.outbox.url_policy import TRUSTED, UrlPolicy, host_of

log = logging.getLogger("openfall.outbox")

AT_ONCE = 8
"""Posts of one worker at a time."""

WRITE_DOWN_FOR = 40.0
"""Seconds for which what came of a post is tried to be written down while Redis is away: within the entry's lease."""

NOT_YET = 60.0
"""Seconds until another look at what only a newer openfall can read."""


MOST_TOLD = 1000
"""So many refusals are remembered, each to be told once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """To whom, how, how often. `discord` and `webhook` are the operator's own URLs, `rules` are for those of producers.

    Without a `secret` no webhook is posted. `at_most`: so many new incidents in so many seconds are told to each of
    the operator's.
    """

    discord: str | None = None
    webhook: str | None = None
    secret: str | None = None
    at_most: tuple[int, float] = (1, 600.0)
    on_recovery: bool = True
    rules: UrlPolicy = field(default_factory=UrlPolicy)

    @property
    def notifiers(self) -> tuple[str, ...]:
        """The names of those who are told of incidents."""
        return tuple(name for name, url in (("discord", self.discord), ("webhook", self.webhook)) if url)


class OutboxDispatcher:
    """Posts what is due. `chance` in [0, 1] spreads the tries; `clock` is monotonic. It belongs to one event loop."""

    def __init__(
        self,
        link: RedisConnection,
        terms: OutboxSettings,
        chance: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._terms, self._chance = link, terms, chance
        self._sender, self._trusted = Sender(terms.rules), Sender(TRUSTED)
        self._notifiers = _notifiers(terms, self._trusted, clock)
        self._rests = HostBackoff(clock)
        self._posting: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()

    async def round(self) -> None:
        """Take what is due and post it; returns when nothing more is due, or as many posts as may be are under way.

        Posts go on after it: one that hangs holds up no other. Raises a `StoreError`.
        """
        while free := AT_ONCE - len(self._posting):
            taken = await outbox.claim_entries(self._link, free)
            for one in taken:
                task = asyncio.create_task(self._carry(one), name=one.entry)
                self._posting.add(task)
                task.add_done_callback(self._posting.discard)
            if len(taken) < free:
                return
            await asyncio.wait(self._posting, return_when=asyncio.FIRST_COMPLETED)

    async def settle(self) -> None:
        """Return when every post that is under way has ended."""
        while self._posting:
            await asyncio.wait(self._posting)

    async def close(self) -> None:
        """Stop what is under way: it is taken again when its lease ends."""
        await cancel_all(*self._posting)
        await self._sender.close()
        await self._trusted.close()

    async def _carry(self, taken: ClaimedEntry) -> None:
        try:
            match taken.subject:
                case JobEntry() as post:
                    await self._post_job(taken, post)
                case NoticeEntry() as post:
                    await self._post_notice(taken, post)
                case None:
                    log.warning("%s: nobody knows what that is; it is not posted", taken.entry)
                    await self._write(lambda: outbox.mark_delivered(self._link, taken))
        except StoreUnreachable:
            log.debug("%s: Redis is away; it is taken again", taken.entry)
        except StoreError as error:
            log.warning("%s: %s", taken.entry, error)
        except Exception:  # a bug of ours must not end what else is to be posted
            log.exception("%s: openfall itself failed to post it; it is taken again", taken.entry)

    async def _post_job(self, taken: ClaimedEntry, post: JobEntry) -> None:
        try:
            letter = await outbox.read_notification(self._link, post)
        except UnreadableEnvelope as error:
            log.warning("%s: %s", taken.entry, error)
            await self._write(lambda: outbox.defer_entry(self._link, taken, NOT_YET))
            return
        if letter is None:
            await self._nothing_to_tell(taken, post)
            return
        host = host_of(letter.url)
        rest = self._rests.left(host)
        outcome: Outcome = Deferred(rest) if rest else await self._send(taken, letter)
        if isinstance(outcome, Failed) and outcome.unreachable:
            self._rests.begin(host)
        elif not isinstance(outcome, Deferred):
            self._rests.end(host)
        if isinstance(outcome, Delivered):
            await self._write(lambda: outbox.mark_delivered(self._link, taken))
        elif isinstance(outcome, Deferred):
            await self._put_off(taken, outcome)
        else:
            await self._failed(taken, host, outcome, next_job_try(taken.tries + 1, self._chance(), outcome.asked))

    async def _nothing_to_tell(self, taken: ClaimedEntry, post: JobEntry) -> None:
        """The job goes on since, or its result was forgotten before its webhook could be delivered."""
        if post.kind == DONE and await outbox.is_forgotten(self._link, post):
            why = "its result has passed its time"
            log.error("%s: given up after %d tries: %s", taken.entry, taken.tries, why)
            await self._write(lambda: outbox.mark_dead(self._link, taken, "", why))
        else:
            await self._write(lambda: outbox.mark_delivered(self._link, taken))

    async def _send(self, taken: ClaimedEntry, letter: JobNotification) -> Outcome:
        if not self._terms.secret:
            return Failed(
                "webhooks are signed, and there is nothing to sign with: set `webhooks: secret`", refused=True
            )
        data = {**letter.result.as_json(), "reply_to": letter.reply_to}
        payload = signing.body(f"job.{letter.result.status}", letter.at, data)
        event = f"{taken.entry}:{letter.at:.3f}"  # a job that is replayed ends, or is held, once more
        signed = signing.headers(event, taken.now, payload, self._terms.secret)
        return classify_response(await self._sender.send(WebhookRequest(url=letter.url, body=payload, headers=signed)))

    async def _post_notice(self, taken: ClaimedEntry, post: NoticeEntry) -> None:
        notifier = self._notifiers.get(post.notifier)
        if notifier is None:
            log.info("%s: no such notifier is configured; it is not posted", taken.entry)
            await self._write(lambda: outbox.mark_delivered(self._link, taken))
            return
        every = notifier.update_every
        most, seconds = self._terms.at_most
        turns = NoticeRate(
            max_notices=most,
            interval_seconds=seconds,
            update_interval_seconds=every,
            notify_recovery=self._terms.on_recovery,
        )
        turn = await outbox.admit_notice(self._link, taken, turns)
        if turn is None:
            return
        notice = Notice(entry=taken.entry, kind=post.kind, incident=turn.incident, unmentioned=turn.unmentioned,
                        now=turn.now)  # fmt: skip
        outcome = await notifier.tell(notice)
        if isinstance(outcome, Delivered):
            message = outcome.message
            await self._write(lambda: outbox.record_notified(self._link, taken, turn, message, every))
        elif isinstance(outcome, Deferred):
            await self._put_off(taken, outcome)
        else:
            age = taken.now - taken.first_claimed_at
            wait = next_notice_try(taken.tries + 1, age, self._chance(), outcome.asked)
            await self._failed(taken, post.notifier, outcome, wait)

    async def _put_off(self, taken: ClaimedEntry, outcome: Deferred) -> None:
        wait = outcome.wait * (1 + 0.2 * self._chance())
        await self._write(lambda: outbox.defer_entry(self._link, taken, wait))

    async def _failed(self, taken: ClaimedEntry, place: str, outcome: Failed, wait: float | None) -> None:
        """Try again after `wait` seconds; None: that was the last time. `place` is what may be shown of its address."""
        if outcome.gone or wait is None:
            log.error("%s: given up after %d tries at %s: %s", taken.entry, taken.tries + 1, place, outcome.why)
            await self._write(lambda: outbox.mark_dead(self._link, taken, place, outcome.why))
            return
        if outcome.refused and outcome.why not in self._told:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told.add(outcome.why)
            log.error("%s: not posted: %s", taken.entry, outcome.why)
        elif not outcome.refused:
            log.warning("%s: not delivered at %s: %s; again in %.0f s", taken.entry, place, outcome.why, wait)
        await self._write(lambda: outbox.retry_entry(self._link, taken, wait, outcome.why))

    async def _write(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Write down what came of a post, also when Redis is away for a while: what was posted is not posted again."""
        try:
            async with asyncio.timeout(WRITE_DOWN_FOR):
                while True:
                    try:
                        await step()
                        return
                    except StoreUnreachable:
                        await asyncio.sleep(0.5)
        except TimeoutError:
            raise StoreUnreachable("Redis is away for long") from None


def _notifiers(terms: OutboxSettings, sender: Sender, clock: Callable[[], float]) -> Mapping[str, Notifier]:
    found: dict[str, Notifier] = {}
    if terms.discord:
        found["discord"] = DiscordNotifier(url=terms.discord, sender=sender, clock=clock)
    if terms.webhook and terms.secret:
        every = terms.at_most[1]
        found["webhook"] = WebhookNotifier(url=terms.webhook, secret=terms.secret, sender=sender, update_every=every)
    return found
