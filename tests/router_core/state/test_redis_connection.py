"""One connection, group commit, and errors that name the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis

from openfall.router_core.errors import InvalidOperation
from openfall.router_core.redis_url import hide_credentials
from openfall.router_core.state.errors import StoreError, StoreFull, StoreRefused, StoreUnreachable
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_error_remedies import translate

TIMEOUT = 20


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(TIMEOUT):
            await story()

    asyncio.run(main())


def test_commands_that_arrive_while_a_batch_is_in_flight_go_out_together(redis_url):
    async def story():
        async with RedisConnection(redis_url) as link:
            replies = await asyncio.gather(*(link.command("ECHO", str(n)) for n in range(100)))
            assert replies == [str(n).encode() for n in range(100)]
            assert link.round_trips <= 2

    run(story)


def test_a_refused_command_leaves_the_others_of_its_batch_alone(redis_url):
    async def story():
        async with RedisConnection(redis_url) as link:
            calls = link.command("SET", "a", "1"), link.command("INCR", "b", "c"), link.command("GET", "a")
            first, refused, last = await asyncio.gather(*calls, return_exceptions=True)
            assert (first, last) == (b"OK", b"1")
            assert isinstance(refused, StoreRefused)
            assert link.round_trips == 1

    run(story)


@pytest.mark.parametrize("bad", ["\ud800", None, object()], ids=["half a character", "nothing", "an object"])
def test_a_command_that_cannot_be_sent_fails_alone(redis_url, bad):
    async def story():
        async with RedisConnection(redis_url) as link:
            good, failed, last = await asyncio.gather(
                link.command("ECHO", "x"),
                link.command("ECHO", bad),
                link.command("ECHO", "y"),
                return_exceptions=True,
            )
            assert (good, last) == (b"x", b"y")
            assert isinstance(failed, StoreError)
            assert await link.command("ECHO", "z") == b"z"

    run(story)


def test_a_cancelled_caller_takes_no_reply_from_the_others(redis_url):
    async def story():
        async with RedisConnection(redis_url) as link:
            impatient = asyncio.create_task(link.command("ECHO", "gone"))
            patient = asyncio.create_task(link.command("ECHO", "here"))
            await asyncio.sleep(0)
            impatient.cancel()
            assert await patient == b"here"
            assert await link.command("ECHO", "after") == b"after"

    run(story)


def test_scripts_are_loaded_again_when_the_server_has_forgotten_them(redis_url, store):
    async def story():
        async with RedisConnection(redis_url) as link:
            await link.load("held_replay")
            for _ in range(2):
                assert await link.script("held_replay", {"id": "nosuchjob"}) == [b"gone"]
                store.function_flush()

    run(story)


def test_a_closed_connection_is_reopened_without_an_error(redis_url, store):
    async def story():
        async with RedisConnection(redis_url) as link:
            me = await link.command("CLIENT", "ID")
            store.client_kill_filter(_id=me)
            assert await link.command("PING") == b"PONG"
            assert await link.command("CLIENT", "ID") != me

    run(story)


def test_a_stopped_server_is_unreachable_until_it_is_back(server):
    async def story():
        async with RedisConnection(server.url) as link:
            await link.command("SET", "kept", "1")
            server.kill()
            for _ in range(2):
                with pytest.raises(StoreUnreachable, match="is it running"):
                    await link.command("GET", "kept")
            server.start()
            assert await link.command("GET", "kept") == b"1"
            assert await link.script("held_replay", {"id": "nosuchjob"}) == [b"gone"]

    run(story)


def test_every_waiting_caller_gets_the_error_of_an_unreachable_server(tmp_path):
    async def story():
        async with RedisConnection(f"unix://{tmp_path}/none") as link:
            errors = await asyncio.gather(*(link.command("PING") for _ in range(300)), return_exceptions=True)
            assert {type(error) for error in errors} == {StoreUnreachable}

    run(story)


def test_closing_ends_waiting_callers_with_an_error(redis_url):
    async def story():
        link = RedisConnection(redis_url)
        waiting = asyncio.create_task(link.command("BLPOP", "nothing", 0))
        await link_sent(link)
        await link.close()
        with pytest.raises(StoreUnreachable, match="closed meanwhile"):
            await waiting

    async def link_sent(link):
        while not link.round_trips:
            await asyncio.sleep(0.005)

    run(story)


def test_a_wrong_password_is_reported_and_never_shown(server):
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", "right-one")

    async def story():
        async with RedisConnection(server.url) as link:
            with pytest.raises(StoreRefused, match="wants a password"):
                await link.command("PING")
        for url in (f"unix://:wrong-one@{server.socket}", f"unix://me:wrong-one@{server.socket}"):
            async with RedisConnection(url) as link:
                with pytest.raises(StoreRefused, match="wrong password or user") as caught:
                    await link.command("PING")
                assert "wrong-one" not in str(caught.value)
        async with RedisConnection(f"unix://:right-one@{server.socket}") as link:
            assert await link.command("PING") == b"PONG"

    run(story)


def test_a_missing_right_is_reported(server):
    with redis.Redis.from_url(server.url) as admin:
        admin.acl_setuser("reader", enabled=True, passwords=["+pw"], commands=["+get"], keys=["*"])

    async def story():
        async with RedisConnection(f"unix://reader:pw@{server.socket}") as link:
            with pytest.raises(StoreRefused, match="give it more rights"):
                await link.command("SET", "a", "1")
            with pytest.raises(StoreRefused, match="give it more rights"):
                await JobStore(link).cancel("job-00001")

    run(story)


def test_a_full_store_is_reported(server):
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", 1)

    async def story():
        async with RedisConnection(server.url) as link:
            with pytest.raises(StoreFull, match="out of memory"):
                await link.command("SET", "a", "1")

    run(story)


def test_a_replica_is_reported(server):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")

    async def story():
        async with RedisConnection(server.url) as link:
            with pytest.raises(StoreUnreachable, match="point the URL at the primary"):
                await link.command("SET", "a", "1")

    run(story)


def test_a_full_disk_is_reported():
    reply = redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")
    assert isinstance(error := translate(reply, "redis://host"), StoreFull)
    assert "free space" in str(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            redis.ResponseError("unknown command `FCALL`, with args beginning with: `x`, `{}`"),
            "it is too old: use Valkey",
        ),
        (redis.ResponseError("unknown command 'FCALL', with args beginning with: 'x'"), "it is too old: use Valkey"),
        (redis.ResponseError("unknown command `FUNCTION`, with args beginning with: `LOAD`"), "too old: use Valkey"),
        (redis.ConnectionError("Error -2 connecting to a:1. Name or service not known."), "is the name correct?"),
        (
            redis.ConnectionError("Error -3 connecting to a:1. Temporary failure in name resolution."),
            "is the name corr",
        ),
        (
            redis.ConnectionError("Error 13 connecting to /run/r.sock. Permission denied."),
            "no right to its socket: add",
        ),
        (redis.ConnectionError("Error 2 connecting to /r.sock. No such file or directory."), "There is no such socket"),
        (redis.ConnectionError("Error 111 connecting to a:1. Connect call failed ('a', 1)."), "Nothing listens there"),
        (redis.ConnectionError("Error 113 connecting to a:1. No route to host."), "is it running? (No route to host.)"),
        (redis.ConnectionError("max number of clients reached"), "Raise its `maxclients`"),
        (redis.ConnectionError("Error UNKNOWN while writing to socket. Connection lost."), "`maxclients` connections"),
        (redis.ConnectionError("Error 104 while writing to socket. Connection reset by peer."), "use rediss://"),
    ],
)
def test_an_error_of_redis_has_its_remedy(error: redis.RedisError, words: str) -> None:
    text = str(translate(error, "redis://host"))
    assert words in text
    assert "with args" not in text
    assert "connecting to" not in text


def test_a_group_of_sentinel_has_the_server_in_its_errors_that_did_not_answer() -> None:
    error = redis.ConnectionError("Error 111 connecting to 127.0.0.1:21998. Connect call failed ('127.0.0.1', 21998).")
    assert "(127.0.0.1:21998)" in str(translate(error, "redis+sentinel://a:1,b:2/main"))
    assert str(translate(error, "redis://127.0.0.1:21998/0")).count("21998") == 1


def test_a_server_that_forgets_a_script_as_soon_as_it_is_loaded_is_worth_another_try(redis_url, store, monkeypatch):
    async def story():
        async with RedisConnection(redis_url) as link:
            store.function_flush()
            monkeypatch.setattr(link, "_load", lambda script: link.command("PING"))
            with pytest.raises(StoreUnreachable, match="try again"):
                await link.script("held_replay", {"id": "nosuchjob"})

    run(story)


def test_a_long_refusal_is_cut_short():
    assert len(str(translate(redis.ResponseError("x" * 5000), "redis://host"))) < 300


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:…@host:6379/0"),
        ("redis://me:secret@host:6379/0", "redis://me:…@host:6379/0"),
        ("rediss://me:se%40cret@host", "rediss://me:…@host"),
        ("redis://me:a@b@host", "redis://me:…@host"),
        ("redis://me:a/b@host", "…"),
        ("redis://me:a:b@host", "redis://me:…@host"),
        ("redis://host?password=secret&db=1", "redis://host?password=…&db=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///a/b.sock", "unix:///a/b.sock"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    assert hide_credentials(url) == shown


def test_a_connection_in_another_event_loop_is_an_error_at_once(redis_url):
    link = RedisConnection(redis_url)
    run(lambda: link.command("PING"))
    with pytest.raises(InvalidOperation, match="another event loop"):
        run(lambda: link.command("PING"))


def test_a_connection_ends_with_its_event_loop(redis_url, store):
    async def story():
        await RedisConnection(redis_url).command("CLIENT", "SETNAME", "forgotten")

    run(story)
    assert b"forgotten" not in store.execute_command("CLIENT", "LIST")
