"""Who waits is woken: producers by a job's news, workers by a bell, and by rq's own commands."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis
from rq.command import send_shutdown_command, send_stop_job_command

from openfall.router_core.state import job_events
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.state.worker_commands import WorkerCommand, listen_commands

JOB = "job-00001"
QUEUE = "gpu.smol.background"
LONG = 10


@pytest.fixture
def _only_the_bell_wakes(monkeypatch):
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 3600.0)


async def until(condition):
    """Poll until something is found, and return it."""
    async with asyncio.timeout(LONG):
        while not (what := condition()):
            await asyncio.sleep(0.01)
        return what


async def wait_event(link, listener, event):
    """Wait until the job's events have one of that kind, looking only when woken."""
    async with asyncio.timeout(LONG):
        while event not in [event_["event"] for event_ in await job_events.read_events(link, JOB)]:
            await listener.next_events()


@pytest.mark.usefixtures("_only_the_bell_wakes")
def test_every_subscriber_of_a_job_gets_its_events(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        news = EventHub(f.url)
        async with news.subscribe(JOB) as first, news.subscribe(JOB) as second, news.subscribe("job-00002"):
            both = asyncio.gather(wait_event(f.link, first, "done"), wait_event(f.link, second, "done"))
            await wait_event(f.link, first, "queued")
            delivery = await f.claim(worker)
            await f.settle(worker, delivery)
            await both
        async with news.subscribe(JOB) as again:
            await wait_event(f.link, again, "done")
        await news.close()

    fleet(story)


@pytest.mark.usefixtures("_only_the_bell_wakes")
def test_a_job_with_a_subscriber_keeps_its_events(fleet):
    """A plain job's events are deleted when it ends, unless a reader is subscribed."""

    async def story(f):
        worker = await f.worker()
        await f.accept("job-00002")
        await f.settle(worker, await f.claim(worker))
        assert f.events("job-00002") == []
        await f.accept()
        news = EventHub(f.url)
        async with news.subscribe(JOB) as listener:
            await until(lambda: f.store.pubsub_numsub("of:job-changed:" + JOB)[0][1])
            await f.settle(worker, await f.claim(worker))
            await wait_event(f.link, listener, "done")
        await news.close()
        assert [event["event"] for event in f.events(JOB)] == ["queued", "started", "done"]

    fleet(story)


@pytest.mark.usefixtures("_only_the_bell_wakes")
def test_a_subscription_survives_a_cut_connection(fleet):
    async def story(f):
        await f.accept()
        news = EventHub(f.url)
        async with news.subscribe(JOB) as listener:
            await wait_event(f.link, listener, "queued")
            cut = await until(lambda: [c for c in f.store.client_list() if int(c["sub"])])
            f.store.client_kill_filter(_id=cut[0]["id"])
            await until(lambda: any(int(c["sub"]) and c["id"] != cut[0]["id"] for c in f.store.client_list()))
            await f.job_store.cancel(JOB)
            await wait_event(f.link, listener, "done")
        await news.close()

    async def bounded(f):
        async with asyncio.timeout(LONG):
            await story(f)

    fleet(bounded)


@pytest.mark.usefixtures("_only_the_bell_wakes")
def test_a_subscription_that_begins_or_ends_while_redis_is_away_counts_once_it_is_back(server):
    def subscribers(client):
        return [client.pubsub_numsub(f"of:job-changed:{job}")[0][1] for job in ("before", "during", "ended")]

    async def story():
        hub = EventHub(server.url)
        async with asyncio.timeout(60):
            ended = hub.subscribe("ended")
            async with hub.subscribe("before"):
                await ended.__aenter__()
                with redis.Redis.from_url(server.url) as client:
                    await until(lambda: subscribers(client) == [1, 0, 1])
                server.kill()
                await ended.__aexit__()
                async with hub.subscribe("during") as during:
                    server.start()
                    with redis.Redis.from_url(server.url) as client:
                        await until(lambda: subscribers(client) == [1, 1, 0])
                        client.publish("of:job-changed:during", b'1 {"event":"queued"}')
                    while not any(announced.length for announced in await during.next_events()):
                        pass
        await hub.close()

    asyncio.run(story())


def test_a_subscriber_polls_without_an_announcement(redis_url, monkeypatch):
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 0.01)

    async def story():
        news = EventHub(redis_url)
        async with asyncio.timeout(LONG), news.subscribe(JOB) as listener:
            for _ in range(3):
                await listener.next_events()
        await news.close()

    asyncio.run(story())


def test_an_accepted_job_wakes_a_worker_once(fleet):
    async def story(f):
        bell = WakeUp(f.url, [QUEUE])
        assert await bell.wait(0.01) is False
        waiting = asyncio.create_task(bell.wait())
        await f.accept()
        assert await waiting is True
        assert await bell.wait(0.01) is False
        await bell.close()

    fleet(story)


def test_a_forwarded_wakeup_reaches_the_next_worker(fleet):
    async def story(f):
        first, second = WakeUp(f.url, [QUEUE]), WakeUp(f.url, [QUEUE])
        await first.forward()
        assert await second.wait(0.01) is False, "nothing had rung"
        await f.accept()
        assert await first.wait() is True
        await first.forward()
        assert await second.wait() is True
        await first.close()
        await second.close()

    fleet(story)


def test_a_burst_leaves_few_wakeups_and_an_emptied_queue_none(fleet):
    async def story(f):
        for n in range(20):
            await f.accept(f"job-{n:05}")
        assert f.store.llen("of:wakeup:" + QUEUE) == 4
        worker = await f.worker(slots=99)
        await worker.claim(32, 0)
        assert not f.store.exists("of:wakeup:" + QUEUE)

    fleet(story)


def test_a_wakeup_without_a_server_raises(server):
    async def story():
        bell = WakeUp(server.url, [QUEUE])
        with redis.Redis.from_url(server.url) as client:
            client.rpush("of:wakeup:" + QUEUE, "1")
        assert await bell.wait() is True
        server.kill()
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await bell.wait()
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await bell.forward()
        await bell.close()

    asyncio.run(story())


def test_rqs_commands_reach_the_worker(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        await f.claim(worker)
        commands = listen_commands(f.url, "redis", "worker-a")
        first = asyncio.create_task(anext(commands))
        await until(lambda: f.store.pubsub_numsub("rq:pubsub:worker-a")[0][1])
        for nonsense in (b"\x80not json", b"5", b"[]", b'{"command":1}', b'{"job_id":"x"}'):
            f.store.publish("rq:pubsub:worker-a", nonsense)
        send_stop_job_command(f.store, JOB, serializer=_Json)
        assert await first == WorkerCommand("stop-job", JOB)
        send_shutdown_command(f.store, "worker-a")
        assert await anext(commands) == WorkerCommand("shutdown", "")
        await f.job_store.cancel(JOB)
        assert await anext(commands) == WorkerCommand("stop-job", JOB, ended=True)
        await commands.aclose()

    fleet(story)


class _Json:
    dumps, loads = staticmethod(lambda value: json.dumps(value).encode()), staticmethod(json.loads)


def test_listening_for_commands_raises_when_the_server_is_gone(server):
    async def story():
        commands = listen_commands(server.url, "redis://here", "worker-a")
        first = asyncio.create_task(anext(commands))
        with redis.Redis.from_url(server.url) as client:
            await until(lambda: client.pubsub_numsub("rq:pubsub:worker-a")[0][1])
        server.kill()
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await first

    asyncio.run(story())
