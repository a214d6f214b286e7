import asyncio
import os
import signal
import stat
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from openfall.workers.local.errors import LocalError
from openfall.workers.local.services import ValkeyService
from openfall.workers.local.valkey import Valkey, start_valkey

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def client(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url, decode_responses=True)


def test_valkey_keeps_its_writes_and_only_its_owner_may_connect(data: Path) -> None:
    url = data / "redis.url"

    async def story() -> None:
        valkey = await start_valkey(data)
        with client(valkey) as store:
            result = store.config_get("append*", "save", "maxmemory*", "*-max-*", "port")
            machine = store.info("memory")["total_system_memory"]
        assert (result["appendonly"], result["appendfsync"]) == ("yes", "everysec")
        assert (result["save"], result["maxmemory-policy"]) == ("", "noeviction")
        assert int(result["maxmemory"]) == max(machine // 2, 256 * 2**20), "models have the rest"
        assert (result["stream-node-max-bytes"], result["hash-max-listpack-entries"]) == ("1024", "64")
        assert result["port"] == "0"
        assert mode(valkey.socket) == 0o700
        assert mode(data) == 0o700
        assert (url.read_text().strip(), mode(url)) == (valkey.url, 0o600)
        await valkey.stop()
        assert not url.exists()
        assert not valkey.child.running()

    run(story())


def test_writes_survive_a_kill(data: Path) -> None:
    async def story() -> None:
        first = await start_valkey(data)
        with client(first) as store:
            store.set("kept", "yes")
            store.waitaof(1, 0, 5000)
        first.child.signal(signal.SIGKILL)
        await first.child.wait()
        second = await start_valkey(data)
        with client(second) as store:
            assert store.get("kept") == "yes"
        assert not second.adopted
        await second.stop()

    run(story())


def test_many_starts_at_once_make_one_server(data: Path) -> None:
    async def story() -> None:
        started = await asyncio.gather(*(start_valkey(data) for _ in range(4)))
        assert len({valkey.child.pid for valkey in started}) == 1
        assert sorted(valkey.adopted for valkey in started) == [False, True, True, True]
        for valkey in started:
            await valkey.stop()

    run(story())


def test_a_valkey_of_another_process_is_used_and_keeps_running(data: Path, up: Any) -> None:
    owner = up(data=data)
    pid = owner.until("ready", "valkey")["pid"]
    owner.until("fleet_ready")

    async def story() -> None:
        valkey = await start_valkey(data)
        assert (valkey.child.pid, valkey.adopted, valkey.ours) == (pid, True, False)
        await valkey.stop()
        with client(valkey) as store:
            assert store.ping()

    run(story())
    assert owner.end() == 0


def test_a_path_too_long_for_a_socket_moves_it_with_a_remark(data: Path, tmp_path: Path) -> None:
    deep = data / ("d" * 60) / ("e" * 60)

    async def story() -> None:
        first = await start_valkey(deep)
        second = await start_valkey(deep)
        assert first.socket == second.socket
        assert str(first.socket) in first.remark
        assert mode(first.socket.parent) == 0o700
        await first.stop()
        first.socket.parent.rmdir()

    run(story())


def test_an_unreadable_append_only_file_is_explained_with_the_end_of_the_log(data: Path) -> None:
    async def story() -> None:
        valkey = await start_valkey(data)
        with client(valkey) as store:
            store.set("a", "b" * 1000)
        await valkey.stop()
        part = next((data / "valkey" / "appendonlydir").glob("*.incr.aof"))
        part.write_bytes(b"this is no command\r\n" + part.read_bytes())
        with pytest.raises(LocalError, match=r"append-only file cannot be read.*Keep a copy(.|\n)*Bad file format"):
            await start_valkey(data)

    run(story())


def test_without_a_server_for_the_platform_the_two_alternatives_are_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfall.workers.local.package_files.find_spec", lambda name: None)
    with pytest.raises(LocalError, match=r"set `redis:` .* or start one in a container"):
        run(start_valkey(data))


def test_a_valkey_that_does_not_respond_is_never_joined_by_a_second(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfall.workers.local.valkey._GRACE_S", 0.1)

    async def story() -> None:
        valkey = await start_valkey(data)
        (data / "valkey.sock").unlink()
        with pytest.raises(LocalError, match=rf"does not answer.*kill {valkey.child.pid}"):
            await start_valkey(data)
        os.kill(valkey.child.pid, signal.SIGKILL)
        await valkey.child.wait()

    run(story())


def test_up_lets_valkey_rewrite_its_files_so_that_a_deleted_prompt_leaves_the_disk(data: Path) -> None:
    async def main() -> None:
        started = await ValkeyService(data, {}, first_rewrite_s=0.2).start(lambda _: None)
        with redis.Redis(unix_socket_path=str(data / "valkey.sock")) as client:
            client.set("prompt", "a secret prompt")
            client.delete("prompt")
        assert on_disk(data)
        async with asyncio.timeout(60):
            while on_disk(data):
                await asyncio.sleep(0.02)
        await started.stop(asyncio.Event())

    asyncio.run(main())


def on_disk(data: Path) -> bool:
    """Whether a file of Valkey has the prompt. One may be deleted meanwhile."""
    for path in (data / "valkey").rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):
            if b"a secret prompt" in path.read_bytes():
                return True
    return False
