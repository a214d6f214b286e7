"""Calls that leave a network through the proxy of its environment."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest
from yarl import URL

from openfall.workers.backends.environment_proxy import find_proxy
from openfall.workers.backends.transport import Transport, explain_fault
from tests.faults import fault_server, raw

PROXY = "http://u:p@proxy.example:3128"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"HTTPS_PROXY": PROXY}, "https://api.example.com/v1", PROXY),
        ({"https_proxy": PROXY}, "https://api.example.com/v1", PROXY),
        ({"ALL_PROXY": PROXY}, "https://api.example.com/v1", PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://api.example.com", "http://proxy.example:3128"),
        ({"HTTPS_PROXY": f" {PROXY}\r\n"}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com"}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.com, .example.com"}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example.com:444"}, "https://api.example.com", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY}, "http://rack.example:8080", None),
        ({"HTTP_PROXY": PROXY}, "http://rack.example:8080", None),
        ({"HTTP_PROXY": PROXY}, "https://api.example.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://localhost:8443", None),
        ({"HTTPS_PROXY": PROXY}, "https://192.168.1.9", None),
        ({"HTTPS_PROXY": PROXY}, "https://[::1]:8443", None),
        ({"HTTPS_PROXY": ""}, "https://api.example.com", None),
        ({}, "https://api.example.com", None),
    ],
)
def test_a_call_to_a_provider_takes_the_proxy_that_other_programs_take(
    environ: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        environ.setenv(name, value)
    assert find_proxy(URL(url)) == (None if proxy is None else URL(proxy))


@pytest.mark.parametrize(("address", "words"), [("socks5://h:1080", "a proxy of socks5"), ("http://", "no address")])
def test_a_proxy_that_cannot_be_used_is_named_in_the_log_and_not_repeated(
    environ: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str, words: str
) -> None:
    environ.setenv("HTTPS_PROXY", address)
    with caplog.at_level(logging.WARNING, "openfall.worker"):
        assert find_proxy(URL("https://api.example.com")) is None
    assert words in caplog.text
    assert address not in caplog.text


def test_the_refusal_of_a_proxy_is_named_as_that(environ: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[str, str, dict[str, str]]:
        async with fault_server(raw(b"HTTP/1.1 407 Authenticate\r\nContent-Length: 0\r\n\r\n")) as proxy:
            environ.setenv("HTTPS_PROXY", proxy.url.replace("://", "://u:hunter2@"))
            transport = Transport(keep_alive=False)
            with pytest.raises(aiohttp.ClientError) as raised:
                await transport.send("POST", URL("https://api.example.com/v1/x"), {"authorization": "Bearer k"})
            await transport.close()
            (call,) = proxy.calls_received
            return str(explain_fault(raised.value)), call.path, call.headers

    reason, path, headers = asyncio.run(main())
    assert reason == "cannot connect: the proxy of HTTPS_PROXY refuses with HTTP 407"
    assert (path, "authorization" in headers) == ("api.example.com:443", False)
