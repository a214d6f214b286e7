"""A Redis that would not keep accepted jobs is refused by each of four programs: preflight, up, work, the client."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import openfall as api
from benchmarks.server import find_free_port
from openfall.config import LoadedConfig, load
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import CLIENT_CHECK_SECONDS, ClientServerCheck
from openfall.workers import process, supervisor_plan
from openfall.workers.service_manager import ServiceManager
from openfall.workers.worker_options import WorkerOptions, watch_worker_config
from tests.fakes.old_redis import REPLIES, old_redis
from tests.producers.cli.conftest import Run
from tests.producers.cli.test_preflight_command import by_check
from tests.valkey_server import Server

Program = Callable[[LoadedConfig], str]


def client(loaded: LoadedConfig) -> str:
    """The error of a first submit; empty: it was accepted."""

    async def main() -> str:
        async with api.AsyncOpenfall(config=loaded) as llm:
            try:
                await llm.submit("hi", role="chat")
            except api.StoreError as error:
                return f"{type(error).__name__}: {error}"
            return ""

    return asyncio.run(main())


def work(loaded: LoadedConfig) -> str:
    """The error of a worker at its start."""
    run = process.run(watch_worker_config(loaded, WorkerOptions(pool="gpu", burst=True), ServiceManager()))
    try:
        asyncio.run(run)
    except api.StoreError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def up(loaded: LoadedConfig) -> str:
    """The error of `openfall up` before it starts a process."""
    with pytest.raises(api.StoreError) as caught:
        asyncio.run(supervisor_plan.run_all(loaded, None, ServiceManager()))
    return f"{caught.type.__name__}: {caught.value}"


PROGRAMS = [client, work, up]


@pytest.fixture
def configured(config_file: Path) -> Callable[..., LoadedConfig]:
    def loaded(url: str, *risks: str) -> LoadedConfig:
        if risks:
            section = f"redis: {{url: '${{REDIS_URL}}', accept_risks: [{', '.join(risks)}]}}"
            config_file.write_text(config_file.read_text().replace("redis: ${REDIS_URL:-embedded}", section))
        return load(config_file, environ={"REDIS_URL": url})

    return loaded


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers with options beside the usual ones."""
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        servers: list[Server] = []

        def start(*options: str) -> Server:
            place = Path(home) / str(len(servers))
            place.mkdir()
            servers.append(Server(place, options).start())
            return servers[-1]

        yield start
        for server in servers:
            server.kill()


STATES = {
    "no_append_only_file": (("--appendonly", "no"), "CONFIG SET appendonly yes"),
    "no_regular_sync": (("--appendfsync", "no"), "CONFIG SET appendfsync everysec"),
    "eviction": (("--maxmemory-policy", "allkeys-lru"), "CONFIG SET maxmemory-policy noeviction"),
    "cluster": (
        ("--port", "0", "--cluster-enabled", "yes", "--cluster-port", str(find_free_port())),
        "`cluster-enabled no`",
    ),
    "read_only_replica": (("--replicaof", "127.0.0.1 9"), "its primary, 127.0.0.1:9"),
}


@pytest.mark.parametrize("state", STATES)
def test_each_program_refuses_a_server_in_a_wrong_state_and_names_the_remedy(state, serve, configured, openfall: Run):
    options, remedy = STATES[state]
    server = serve(*options)
    loaded = configured(server.url)
    for program in PROGRAMS:
        answer = program(loaded)
        assert answer.startswith("UnsuitableRedis: no job is accepted by Redis at unix:"), program
        assert remedy in answer, program
    ran = openfall("preflight", "--json", url=server.url)
    result = by_check(ran)["redis", state]
    assert ran.returncode == 4
    assert result["state"] == "failure"
    assert remedy in result["remedy"]
    with redis.Redis.from_url(server.url) as store:
        assert store.keys("of:job:*") == [] if state != "cluster" else True


@pytest.mark.parametrize("state", ["no_append_only_file", "no_regular_sync", "eviction"])
def test_an_accepted_risk_lets_programs_start_and_is_shown_by_status_and_preflight(
    state, serve, configured, openfall: Run
):
    server = serve(*STATES[state][0])
    loaded = configured(server.url, state)
    assert work(loaded) == ""
    assert client(loaded) == ""
    assert f"ccepted risks: {state}." in openfall("status", url=server.url).stdout
    assert by_check(openfall("preflight", "--json", url=server.url))["redis", state]["state"] == "warning"


def test_another_risk_than_the_accepted_one_still_refuses(serve, configured):
    server = serve("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    answer = client(configured(server.url, "eviction"))
    assert "append-only file is off" in answer
    assert "allkeys-lru" not in answer


def test_every_cause_is_listed(serve, configured):
    server = serve("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    answer = client(configured(server.url))
    assert "\n- the append-only file is off" in answer
    assert "\n- `maxmemory-policy allkeys-lru`" in answer


def test_status_says_that_no_job_is_accepted_and_why(serve, openfall: Run):
    text = openfall("status", url=serve("--appendonly", "no").url).stdout
    assert "No job is accepted: the append-only file is off" in text
    assert "CONFIG SET appendonly yes" in text


def test_a_missing_right_is_named_at_each_program(server, configured, openfall: Run):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "bot", "on", ">pw", "~of:*", "&of:*", "&rq:*", "+@all", "-zadd")
    url = f"unix://bot:pw@{server.socket}"
    remedy = "ACL SETUSER bot '~rq:*' +zadd"
    for program in PROGRAMS:
        assert remedy in program(configured(url)), program
    result = by_check(openfall("preflight", "--json", url=url))["redis", "missing_rights"]
    assert remedy in result["remedy"]


def test_without_info_the_memory_guard_is_off_and_each_worker_and_preflight_name_the_right(
    server, configured, openfall: Run, caplog
):
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "bot", "on", ">pw", "~*", "&*", "+@all", "-info", "-config|get")
    url = f"unix://bot:pw@{server.socket}"
    with caplog.at_level(logging.WARNING, "openfall"):
        assert work(configured(url)) == ""
    assert "ACL SETUSER bot +info '+config|get'" in caplog.text
    assert "`limits: max_memory` has no effect" in caplog.text
    assert len(caplog.records) == 1, "nothing fails each second for want of the right"
    assert client(configured(url)) == ""
    result = by_check(openfall("preflight", "--json", url=url))["redis", "unchecked_server"]
    assert (result["state"], "may not run INFO and CONFIG GET" in result["message"]) == ("warning", True)


def test_little_memory_lets_workers_empty_the_queues_and_is_named_by_preflight(
    server, configured, config_file: Path, openfall: Run, caplog
):
    with redis.Redis.from_url(server.url) as admin:
        limit = 64 * 2**20
        admin.config_set("maxmemory", limit)
        assert admin.info("memory")["used_memory"] > limit / 100, "an empty server uses more"
    config_file.write_text(config_file.read_text().replace("limits: {", "limits: {max_memory: 1%, "))
    with caplog.at_level(logging.WARNING, "openfall"):
        assert work(configured(server.url)) == ""
    assert "of memory: no job is accepted" in caplog.text
    assert by_check(openfall("preflight", "--json", url=server.url))["redis", "memory_nearly_full"]
    assert client(configured(server.url)).startswith("MemoryPressure")


@pytest.fixture
def old_server_url(tmp_path: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        real = os.environ.get("OPENFALL_TEST_OLD_SERVER")
        if real is None:
            with old_redis(Path(home) / "old.sock"):
                yield f"unix://{home}/old.sock"
            return
        server = Server(Path(home), program=real).start()
        yield server.url
        server.kill()


def test_each_program_refuses_redis_6_2_with_words_and_not_with_a_syntax_error(
    old_server_url, configured, openfall: Run
):
    for program in PROGRAMS:
        answer = program(configured(old_server_url))
        assert "Redis 6.2.14 is too old" in answer, program
        assert "Redis 7.0 or newer" in answer, program
    ran = openfall("preflight", url=old_server_url)
    assert ran.returncode == 4
    assert "✗ Redis 6.2.14 is too old" in ran.stdout


def test_a_server_that_runs_no_scripts_is_refused(configured, monkeypatch: pytest.MonkeyPatch) -> None:
    info = "redis_version:7.2.5\r\ngarnet_version:1.0.50\r\nrole:master\r\n"
    monkeypatch.setitem(REPLIES, "INFO", f"${len(info)}\r\n{info}\r\n")
    monkeypatch.setitem(REPLIES, "EVAL", "-ERR unknown command 'EVAL'\r\n")
    with tempfile.TemporaryDirectory(prefix="of-") as home, old_redis(Path(home) / "garnet.sock"):
        answer = work(configured(f"unix://{home}/garnet.sock"))
    assert "no function libraries (FUNCTION), in which openfall keeps its scripts" in answer


@pytest.mark.slow
def test_a_worker_and_up_exit_with_the_code_of_a_wrong_configuration(
    serve, configured, openfall_process: Run, tmp_path: Path
):
    url = serve("--appendonly", "no").url
    for command in (("work", "gpu"), ("work", "gpu", "--procs", "2"), ("up",)):
        ran = openfall_process(*command, url=url)
        assert ran.returncode == 2, command
        assert "CONFIG SET appendonly yes" in ran.stderr, command
    ran = openfall_process("ask", "hi", url=url)
    assert ran.returncode == 2
    assert "CONFIG SET appendonly yes" in ran.stderr


def test_a_client_checks_once_for_each_connection_and_again_when_the_server_was_restarted(serve, configured):
    server = serve()
    loaded = configured(server.url)

    async def story() -> None:
        async with api.AsyncOpenfall(config=loaded) as llm:
            await asyncio.gather(*(llm.submit("hi", role="chat") for _ in range(20)))
            link = llm.store.connection
            await llm.store.fleet()
            before = link.round_trips
            await llm.store.jobs.accept_many([])
            assert link.round_trips == before, "no round trip for the check"
            with redis.Redis.from_url(server.url) as admin:
                calls: Any = admin.info("commandstats")
                assert calls["cmdstat_info"]["calls"] == 1
            server.kill()
            server.options = ("--appendonly", "no")
            await asyncio.to_thread(server.start)
            await llm.store.ping()  # any command notices that its connection broke
            with pytest.raises(api.UnsuitableRedis, match="append-only file"):
                await llm.submit("hi", role="chat")

    asyncio.run(story())


def test_a_client_notices_within_30_s_that_a_running_server_keeps_its_jobs_no_more(serve):
    server = serve()
    now = 1000.0

    async def story() -> None:
        nonlocal now
        async with RedisConnection(server.url) as link:
            check = ClientServerCheck(link, lambda: now)
            assert [await check.require(), await check.require()] == [True, False]
            await link.command("CONFIG", "SET", "appendonly", "no")
            now += CLIENT_CHECK_SECONDS - 1
            assert not await check.require()
            now += 1
            with pytest.raises(api.UnsuitableRedis, match="append-only file"):
                await check.require()
            await link.command("CONFIG", "SET", "appendonly", "yes")
            assert [check.is_due, await check.require(), check.is_due] == [True, False, False]

    asyncio.run(story())


def test_a_bulk_of_jobs_is_refused_with_the_same_error(serve, configured):
    loaded = configured(serve("--appendonly", "no").url)

    async def story() -> list[Any]:
        async with api.AsyncOpenfall(config=loaded) as llm:
            return await llm.submit_many(["a", "b"])

    answers = asyncio.run(story())
    assert [type(answer) for answer in answers] == [api.UnsuitableRedis] * 2


def test_status_workers_and_preflight_name_a_worker_that_reads_another_configuration(
    answering, redis_url, openfall: Run
):
    with redis.Redis.from_url(redis_url) as store:
        store.hset("rq:worker:answering-worker", "of_catalog", "0123456789ab")
    words = "workers or gateways read another configuration than /"
    status = openfall("status")
    assert re.search("- The worker answering-worker on .* reads another configuration than this process", status.stdout)
    assert words in openfall("workers").stderr + openfall("workers").stdout
    result = by_check(openfall("preflight", "--json"))["workers", "catalog"]
    assert (result["state"], "answering-worker" in result["message"]) == ("warning", True)
    assert "one file" in result["remedy"]
