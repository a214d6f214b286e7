"""TLS to Redis: what works, and in which words the rest is refused."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state.errors import StoreError, StoreRefused
from openfall.router_core.state.redis_connection import RedisConnection
from tests.tls_proxy import Authority, tls_before
from tests.valkey_server import Server

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificates(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    return {
        "good": authority.issue("good"),
        "other host": authority.issue("other", "DNS:cache.example.com"),
        "expired": authority.issue("expired", days=0),
        "client": authority.issue("client"),
    }


async def ping(server: RedisServer) -> str:
    async with RedisConnection(server) as link:
        try:
            return str(await link.command("PING"))
        except StoreError as error:
            return f"{type(error).__name__}: {error}"


def try_tls(
    shared: Server, certificate: tuple[Path, Path], clients: Path | None = None, scheme: str = "rediss", **keys: Any
) -> str:
    async def story() -> str:
        async with tls_before(shared.socket, certificate, clients) as port:
            return await ping(RedisServer(url=f"{scheme}://127.0.0.1:{port}", **keys))

    return asyncio.run(story())


def test_a_private_authority_and_a_client_certificate_work(shared_server, certificates, authority) -> None:
    client, key = certificates["client"]
    reply = try_tls(
        shared_server, certificates["good"], authority.file,
        tls_ca=str(authority.file), tls_certificate=str(client), tls_key=str(key),
    )  # fmt: skip
    assert reply == "b'PONG'"


def test_the_check_of_the_host_can_be_switched_off(shared_server, certificates, authority) -> None:
    ca = str(authority.file)
    assert try_tls(shared_server, certificates["other host"], tls_ca=ca, tls_check_hostname=False) == "b'PONG'"


@pytest.mark.parametrize(
    ("certificate", "has_authority", "words"),
    [
        ("good", False, "no authority that is known here: name the authority's file in `redis: {tls_ca: ...}`"),
        ("other host", True, "is for another host"),
        ("expired", True, "is not valid now: renew it"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_is_refused_with_the_remedy(
    shared_server, certificates, authority, certificate, has_authority, words
) -> None:
    keys = {"tls_ca": str(authority.file)} if has_authority else {}
    message = try_tls(shared_server, certificates[certificate], **keys)
    assert message.startswith(StoreRefused.__name__)
    assert words in message


def test_a_missing_client_certificate_is_named(shared_server, certificates, authority) -> None:
    message = try_tls(shared_server, certificates["good"], authority.file, tls_ca=str(authority.file))
    assert "tls_certificate" in message


def test_plain_redis_at_the_tls_port_names_the_scheme(shared_server, certificates) -> None:
    message = try_tls(shared_server, certificates["good"], scheme="redis")
    assert "rediss://" in message


def test_tls_at_a_port_without_tls_names_the_scheme() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"-ERR Protocol error: unbalanced quotes in request\r\n")
        writer.close()
        await writer.wait_closed()

    async def story() -> str:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        try:
            return await ping(RedisServer(url=f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        finally:
            server.close()

    message = asyncio.run(story())
    assert "rediss://" in message or "TLS" in message
