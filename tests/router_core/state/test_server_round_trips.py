"""What one job costs: two round trips of a worker, and nothing beside them."""

from __future__ import annotations

import asyncio


def _calls(store):
    return {name: row["calls"] for name, row in store.info("commandstats").items()}


def _sent(store, before):
    """What clients sent since: commands that a script issued count under their own names, not under these."""
    after = _calls(store)
    names = ("fcall", "eval", "function|load")
    return {name: n for name in names if (n := after.get(f"cmdstat_{name}", 0) - before.get(f"cmdstat_{name}", 0))}


async def _ready(f):
    await f.link.load("accept", "claim", "settle")
    await f.accept()
    return await f.worker()


def test_a_claim_and_its_settle_are_two_round_trips(fleet):
    async def story(f):
        worker = await _ready(f)
        before, trips = _calls(f.store), f.link.round_trips
        delivery = await f.claim(worker)
        assert f.link.round_trips - trips == 1
        await f.settle(worker, delivery)
        assert f.link.round_trips - trips == 2
        assert _sent(f.store, before) == {"fcall": 2}

    fleet(story)


def test_the_server_sees_two_commands_from_the_worker(fleet):
    async def story(f):
        worker = await _ready(f)
        with f.store.monitor() as monitor:
            delivery = await f.claim(worker)
            await f.settle(worker, delivery)
            f.store.echo("the end")
            commands = []
            while (command := monitor.next_command())["command"] != "ECHO the end":
                commands.append(command)
        sent = [command["command"].split()[0] for command in commands if command["client_type"] != "lua"]
        assert [word for word in sent if word not in ("HELLO", "CLIENT")] == ["FCALL", "FCALL"], "and who looks on"

    fleet(story)


def test_accepting_is_one_round_trip(fleet):
    async def story(f):
        await _ready(f)
        before, trips = _calls(f.store), f.link.round_trips
        await f.accept("job-00002")
        assert f.link.round_trips - trips == 1
        assert _sent(f.store, before) == {"fcall": 1}

    fleet(story)


def test_many_jobs_at_once_share_their_round_trips(fleet):
    async def story(f):
        worker = await _ready(f)
        worker = await f.worker(slots=64)
        await asyncio.gather(*(f.accept(f"job-1{n:04}") for n in range(31)))
        trips = f.link.round_trips
        deliveries = (await worker.claim(32, 0)).deliveries
        await asyncio.gather(*(f.settle(worker, delivery) for delivery in deliveries))
        assert len(deliveries) == 32
        assert f.link.round_trips - trips <= 3

    fleet(story)
