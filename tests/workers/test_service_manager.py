"""What the service manager learns: a real worker and a real gateway report to the NOTIFY_SOCKET of a test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.server import find_free_port
from openfall.producers.gateway.serve import GRACE_SECONDS
from openfall.workers.service_manager import ALIVE_FILE_SECONDS, STOP_RESERVE_SECONDS, ServiceManager
from tests.producers.gateway.running_gateway import gateway_config
from tests.workers.sidecar.harness import write_manifest

WITHIN_SECONDS = 60.0
WATCHDOG = {"WATCHDOG_USEC": "300000"}


class NotifySocket:
    """What systemd listens on. `until` returns the datagrams up to the first that has a line."""

    def __init__(self, own: socket.socket, address: str) -> None:
        own.settimeout(WITHIN_SECONDS)
        self._own, self.address = own, address

    def until(self, line: str) -> list[dict[str, str]]:
        datagrams = []
        while True:
            lines = self._own.recv(4096).decode().splitlines()
            datagrams.append(dict(each.split("=", 1) for each in lines))
            if line in lines:
                return datagrams


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    with listen(str(tmp_path / "notify") if request.param == "path" else f"@openfall-test-{os.getpid()}") as manager:
        yield manager


@contextmanager
def listen(address: str) -> Iterator[NotifySocket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        yield NotifySocket(own, address)


@contextmanager
def started(module: str, *arguments: str, notify: NotifySocket, log: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", module, *arguments, "--log-format", "json"]
    environ = {**os.environ, "NOTIFY_SOCKET": notify.address, **WATCHDOG}
    with log.open("w") as stderr, subprocess.Popen(command, env=environ, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_reports_that_it_is_ready_turns_reloads_and_stops(redis_url: str, tmp_path: Path) -> None:
    config = tmp_path / "openfall.yaml"
    text = (
        f"redis: {redis_url}\nbackends: {{box: {{url: 'http://127.0.0.1:9', pool: gpu}}}}\n"
        "models: {smol: {upstream: 'smol:1b', backends: [box]}}\nworkers: {shutdown_grace: 7s}\n"
    )
    config.write_text(text)
    log = tmp_path / "log"
    with (
        listen(f"@openfall-worker-{os.getpid()}") as manager,
        started("openfall.workers", "work", "gpu", "--config", str(config), notify=manager, log=log) as process,
    ):
        *_, ready = manager.until("READY=1")
        assert ready["STATUS"].startswith("of-gpu-")
        manager.until("WATCHDOG=1")
        config.write_text(text + "roles: {chat: {chain: [smol]}}\n")
        *_, reloading = manager.until("RELOADING=1")
        assert int(reloading["MONOTONIC_USEC"]) > 0
        *_, reloaded = manager.until("READY=1")
        assert reloaded["STATUS"].startswith("of-gpu-")
        assert reloaded["STATUS"] != ready["STATUS"], "the worker with the previous configuration is gone"
        manager.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        *_, stopping = manager.until("STOPPING=1")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) == (7 + STOP_RESERVE_SECONDS) * 1e6
        assert process.wait(WITHIN_SECONDS) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert "the changed configuration is in force" in [line["message"] for line in lines]


def test_a_gateway_reports_that_it_is_ready_turns_and_stops_and_each_line_of_its_log_is_json(
    redis_url: str, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    gateway_config(redis_url, tmp_path, "http://127.0.0.1:9", f'gateway: {{listen: ["{address}"]}}')
    log = tmp_path / "log"
    with (
        listen(f"@openfall-gateway-{os.getpid()}") as manager,
        started(
            "openfall.producers.gateway", "--config", str(tmp_path / "openfall.yaml"), notify=manager, log=log
        ) as gateway,
    ):
        manager.until("READY=1")
        with socket.create_connection(host_and_port(address), WITHIN_SECONDS) as client:
            client.sendall(b"GET /health?key=sk-a-secret-of-the-url HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        manager.until("WATCHDOG=1")
        gateway.send_signal(signal.SIGTERM)
        *_, stopping = manager.until("STOPPING=1")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) == (GRACE_SECONDS + STOP_RESERVE_SECONDS) * 1e6
        assert gateway.wait(WITHIN_SECONDS) == 0
    text = log.read_text()
    loggers = {json.loads(line)["logger"] for line in text.splitlines()}
    assert "openfall.gateway" in loggers
    assert "sk-a-secret" not in text


def test_a_sidecar_reports_that_it_is_ready_turns_and_stops(tmp_path: Path) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    manifest = write_manifest(tmp_path, {"alpha": {}}, listen=address)
    log = tmp_path / "log"
    with (
        listen(f"@openfall-sidecar-{os.getpid()}") as manager,
        started("openfall.workers.sidecar", "--manifest", str(manifest), notify=manager, log=log) as process,
    ):
        manager.until("READY=1")
        manager.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert process.wait(WITHIN_SECONDS) == 0
    assert all(json.loads(line) for line in log.read_text().splitlines())


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_a_gateway_whose_processes_cannot_be_used_as_configured_ends_with_2(redis_url: str, tmp_path: Path) -> None:
    """It is reachable for other machines and has no key. Until then such processes were started again for ever."""
    gateway_config(redis_url, tmp_path, "http://127.0.0.1:9", 'gateway: {listen: ["0.0.0.0:0"], processes: 2}')
    command = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(tmp_path / "openfall.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_SECONDS, check=False)
    assert done.returncode == 2
    assert "openfall keys new" in done.stderr


def test_a_loop_that_does_not_turn_sends_no_sign_of_life(manager: NotifySocket) -> None:
    async def main() -> None:
        service = ServiceManager.of({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000"})
        answers = iter((False, False, True, False))
        done = asyncio.Event()

        def is_alive() -> bool:
            if (answer := next(answers, None)) is None:
                done.set()
            return bool(answer)

        beating = asyncio.create_task(service.stay_alive(is_alive))
        await done.wait()
        beating.cancel()
        service.ready("over")

    asyncio.run(main())
    assert manager.until("STATUS=over") == [{"WATCHDOG": "1"}, {"READY": "1", "STATUS": "over"}]


def test_a_container_sees_the_age_of_a_file_that_exists_once_its_process_is_ready(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    service = ServiceManager.of({"OPENFALL_ALIVE_FILE": str(file)})
    assert service.beat_seconds == ALIVE_FILE_SECONDS / 3
    assert not file.exists()
    service.ready()
    os.utime(file, (1.0, 1.0))
    service.alive()
    assert file.stat().st_mtime > 1.0


def test_without_a_service_manager_or_with_a_watchdog_of_another_process_nothing_waits_for_a_sign_of_life() -> None:
    for environ in (
        {},
        {"WATCHDOG_USEC": "300000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"},
    ):
        assert ServiceManager.of(environ).beat_seconds is None
        assert environ == {}, "a process that this one starts is not the service"
    gone = ServiceManager.of({"NOTIFY_SOCKET": "/nowhere/notify"})
    gone.ready()
    gone.stopping(1.0)
