"""What tests of the outbox do and look at."""

from __future__ import annotations

from openfall.router_core.state import outbox
from openfall.router_core.state.incidents import close_incident
from openfall.router_core.state.outbox import NoticeRate
from tests.incidents import open_incident

JOB = "job:job-00001:done"
ONE_IN_TEN_MINUTES = NoticeRate(max_notices=1, interval_seconds=600, update_interval_seconds=10, notify_recovery=True)


def put(f, entry=JOB):
    f.store.zadd("of:outbox", {entry: int(f.clock.now * 1000)}, nx=True)


def began(f, reason="outage", **fields):
    """An incident as falls leave it, and its notice for Discord."""
    incident = open_incident(f.store, f.clock.now, reason, **fields)
    put(f, f"notice:discord:{incident}:began")
    return incident


async def ended(f, reason="outage"):
    f.clock.now += 10
    assert await close_incident(f.link, reason, ())


def waits(f):
    """The entries in the outbox, and how long each waits from now on."""
    rows = f.store.zrange("of:outbox", 0, -1, withscores=True)
    return {entry.decode(): round(at / 1000 - f.clock.now, 1) for entry, at in rows}


async def turn(f, turns=ONE_IN_TEN_MINUTES):
    """The worker that takes the one entry that is due asks for its turn."""
    (taken,) = await outbox.claim_entries(f.link, 8)
    return taken, await outbox.admit_notice(f.link, taken, turns)


async def turns(f):
    """The turns of everything that is due, the beginnings first."""
    taken = sorted(await outbox.claim_entries(f.link, 8), key=lambda claimed_entry: claimed_entry.subject.kind)
    return [await outbox.admit_notice(f.link, claimed_entry, ONE_IN_TEN_MINUTES) for claimed_entry in taken]


async def tell(f, message="", turns=ONE_IN_TEN_MINUTES):
    """Send the one notice that is due."""
    taken, its_turn = await turn(f, turns)
    assert its_turn is not None, taken.entry
    await outbox.record_notified(f.link, taken, its_turn, message, turns.update_interval_seconds)
    return its_turn
