"""The process of the gateway: its addresses, its stop, its end with what started it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.server import find_free_port
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway import serve
from openfall.producers.gateway.gateway import Gateway
from openfall.producers.gateway.serve import listening_sockets
from tests.producers.gateway.running_gateway import gateway_config, run

READY = '{"event": "ready"}\n'


@contextmanager
def _gateway(home: Path, redis_url: str, address: str, more: str = "") -> Iterator[subprocess.Popen[str]]:
    gateway_config(redis_url, home, "http://127.0.0.1:9", f'gateway: {{listen: ["{address}"]{more}}}')
    command = [
        sys.executable,
        "-m",
        "openfall.producers.gateway",
        "--config",
        str(home / "openfall.yaml"),
        "--announce",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _free_address() -> str:
    return f"127.0.0.1:{find_free_port()}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_gateway_says_when_it_is_ready_ignores_signals_to_reopen_a_log_and_stops_with_0(
    redis_url: str, tmp_path: Path, number: int
) -> None:
    address = _free_address()
    with _gateway(tmp_path, redis_url, address) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == READY
        health = httpx.get(f"http://{address}/health", timeout=60)
        lines = []
        for each in (signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(each)
            while f"{each.name} is ignored" not in "".join(lines[-1:]):
                lines.append(process.stderr.readline())
                assert lines[-1], "the gateway has ended"
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert health.json()["status"] == "ok"
    assert lines[0].endswith(f" I serves http://{address}\n")
    assert rest.endswith(" I stopping\n")


def test_a_gateway_imports_no_worker_code_and_no_client_for_providers_at_its_start() -> None:
    code = "import sys, openfall.producers.gateway.serve; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "openfall.producers.gateway.app" in modules
    workers = {module for module in modules if module.startswith("openfall.workers.")}
    assert workers == {"openfall.workers.stop_signals"}
    assert not {module for module in modules if module.startswith("aiohttp")}


def test_an_address_in_use_is_named_with_its_remedy(redis_url: str, tmp_path: Path) -> None:
    with listening_sockets(("127.0.0.1:0",)) as (taken,):
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with _gateway(tmp_path, redis_url, address) as process:
            _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"cannot listen on {address}: address already in use" in err
    assert "gateway: {listen: [...]}" in err
    assert "Traceback" not in err


def test_a_gateway_does_not_serve_other_machines_without_a_key(redis_url: str, tmp_path: Path) -> None:
    with _gateway(tmp_path, redis_url, "0.0.0.0:0") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "openfall keys new" in err


@pytest.mark.slow
def test_several_processes_share_an_address_outlive_a_broken_file_and_end_with_their_parent(
    redis_url: str, tmp_path: Path
) -> None:
    address = _free_address()
    with _gateway(tmp_path, redis_url, address, ", processes: 2") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        children = _children(process.pid, 2)
        for _ in range(4):
            assert httpx.get(f"http://{address}/health", timeout=60).status_code == 200
        file = tmp_path / "openfall.yaml"
        text = file.read_text()
        file.write_text("roles: [")
        os.kill(children[0], signal.SIGKILL)
        (refused,) = set(_children(process.pid, 2, but=children[0])) - {children[1]}
        _until_gone([refused])
        assert httpx.get(f"http://{address}/health", timeout=60).status_code == 200
        file.write_text(text)
        again = _children(process.pid, 2, but=children[0])
        process.kill()
        process.wait()
        _until_gone([children[1], *again])


def test_processes_that_stop_end_every_stream_with_words_and_exit_with_0(redis_url: str, tmp_path: Path) -> None:
    """Without a worker a stream of the background is open and silent."""
    address = _free_address()
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}

    async def read(client: httpx.AsyncClient, opened: list[asyncio.Event], number: int) -> str:
        headers = {"x-openfall-urgency": "background", "idempotency-key": str(number)}
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            opened[number].set()
            return "".join([part async for part in response.aiter_text()])

    async def main(process: subprocess.Popen[str]) -> list[str]:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60, limits=limits) as client:
            opened = [asyncio.Event() for _ in range(8)]
            streams = [asyncio.create_task(read(client, opened, number)) for number in range(8)]
            await asyncio.gather(*(event.wait() for event in opened))
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*streams)

    with _gateway(tmp_path, redis_url, address, ", processes: 2") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        _children(process.pid, 2)
        texts = asyncio.run(main(process))
        assert process.wait(60) == 0
    assert all('"code":"restarting"' in text and text.endswith("data: [DONE]\n\n") for text in texts)


def _children(parent: int, count: int, but: int = 0) -> list[int]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
        children = [int(word) for word in listed.split() if int(word) != but]
        if len(children) == count:
            return children
        time.sleep(0.05)
    raise AssertionError(json.dumps(children))


def _until_gone(processes: list[int]) -> None:
    end = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_second_stop_ends_a_response_that_its_client_does_not_read(redis_url, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(serve, "GRACE_SECONDS", 3600)

    async def main():
        gateway = Gateway.of(AsyncOpenfall(config=gateway_config(redis_url, tmp_path, "http://127.0.0.1:9")))
        with listening_sockets(("127.0.0.1:0",)) as sockets:
            server = serve.Server(gateway, handle_signals=False)
            serving = asyncio.create_task(server.serve(sockets))
            while not server.started:
                await asyncio.sleep(0.005)
            host, port = sockets[0].getsockname()
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as http:
                large = {"file": ("a.jsonl", b"x" * 32_000_000)}
                known = (await http.post("/v1/files", files=large, data={"purpose": "batch"})).json()["id"]
            reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writer.write(f"GET /v1/files/{known}/content HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            server.stop()
            await asyncio.sleep(0)
            assert not serving.done()
            server.stop()
            await serving
            writer.close()

    run(main)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
