"""What an operator orders about notifications: to try them at once, or to drop them."""

from __future__ import annotations

from openfall.router_core.state import outbox
from openfall.router_core.state.outbox import LEASE_SECONDS
from openfall.router_core.state.outbox_orders import OutboxVerb, failed_entries, order_entries, waiting_entries
from tests.router_core.state.outbox_steps import JOB, began, put, turn, waits

RETRY, DROP = OutboxVerb.RETRY, OutboxVerb.DROP
OTHERS = ("batch:batch_1:", "job:job-00002:degraded", "parcel", "notice:discord:outage-1:began")


async def failed_once(f, *entries, wait=3600):
    """Each entry was tried once in vain."""
    for entry in entries:
        put(f, entry)
    for claimed in await outbox.claim_entries(f.link, len(entries)):
        assert await outbox.retry_entry(f.link, claimed, wait, "HTTP 503")


async def failed_for_good(f, *entries):
    for entry in entries:
        put(f, entry)
    for claimed in await outbox.claim_entries(f.link, len(entries)):
        assert await outbox.mark_dead(f.link, claimed, "bot.example:443", "HTTP 410")


def test_a_pending_entry_is_tried_at_once_and_keeps_its_tries(fleet):
    async def story(f):
        await failed_once(f, JOB, *OTHERS)
        assert await order_entries(f.link, RETRY, [JOB, OTHERS[2], "job:nothing:done"]) == 2
        assert {entry: wait for entry, wait in waits(f).items() if not wait} == {JOB: 0, OTHERS[2]: 0}
        (claimed, _) = await outbox.claim_entries(f.link, 2)
        assert claimed.tries == 1

    fleet(story)


def test_an_entry_that_is_being_delivered_is_not_tried_a_second_time(fleet):
    async def story(f):
        put(f)
        (claimed,) = await outbox.claim_entries(f.link, 1)
        assert await order_entries(f.link, RETRY, [JOB]) == 0
        assert await outbox.claim_entries(f.link, 1) == []
        assert await outbox.mark_delivered(f.link, claimed)

    fleet(story)


def test_an_entry_whose_dispatcher_died_is_tried_at_once(fleet):
    async def story(f):
        put(f)
        await outbox.claim_entries(f.link, 1)
        f.clock.now += LEASE_SECONDS + 1
        assert await order_entries(f.link, RETRY, [JOB]) == 1
        assert len(await outbox.claim_entries(f.link, 1)) == 1

    fleet(story)


def test_an_entry_that_failed_for_good_is_pending_again_with_all_of_its_tries(fleet):
    async def story(f):
        await failed_for_good(f, JOB, *OTHERS[:2])
        assert await order_entries(f.link, RETRY, [JOB, OTHERS[1]]) == 2
        assert await failed_entries(f.link) == [OTHERS[0]]
        claimed = await outbox.claim_entries(f.link, 8)
        assert {(each.entry, each.tries) for each in claimed} == {(JOB, 0), (OTHERS[1], 0)}

    fleet(story)


def test_dropped_entries_are_gone_whether_they_are_pending_or_failed_for_good(fleet):
    async def story(f):
        await failed_for_good(f, OTHERS[0])
        await failed_once(f, JOB, *OTHERS[1:])
        f.store.lpush("of:dead-letters", "damaged", '"a text"')
        assert await order_entries(f.link, DROP, [JOB, OTHERS[0], OTHERS[2]]) == 3
        assert set(await waiting_entries(f.link)) == {OTHERS[1], OTHERS[3]}
        assert f.store.lrange("of:dead-letters", 0, -1) == [b'"a text"', b"damaged"]
        assert not f.store.exists(f"of:outbox-entry:{JOB}")

    fleet(story)


def test_a_delivery_that_ends_after_its_entry_was_dropped_changes_nothing(fleet):
    async def story(f):
        put(f)
        (claimed,) = await outbox.claim_entries(f.link, 1)
        assert await order_entries(f.link, DROP, [JOB]) == 1
        assert not await outbox.retry_entry(f.link, claimed, 5, "HTTP 503")
        assert waits(f) == {}

    fleet(story)


def test_a_dropped_notice_gives_its_turn_to_the_next_incident(fleet):
    async def story(f):
        began(f)
        claimed, admission = await turn(f)
        assert admission is not None
        assert await order_entries(f.link, DROP, [claimed.entry]) == 1
        began(f, "budget")
        _, admission = await turn(f)
        assert admission is not None

    fleet(story)
