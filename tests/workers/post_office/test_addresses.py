"""Where a post may go: nothing that a producer names leads into the network of the workers."""

from __future__ import annotations

import pytest

from openfall.workers.outbox.url_policy import (
    TRUSTED,
    UrlPolicy,
    UrlRefused,
    check_addresses,
    checked_url,
    host_of,
    is_public,
    resolve,
)

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "168.63.129.16",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "2002:7f00:1::", "2002:0808:0808::1", "2001:0:808:808::1", "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "162.159.136.232", "2606:4700::1111",
    "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_within_is_not_public(address):
    assert not is_public(address)
    with pytest.raises(UrlRefused, match=r"bot\.example is at .*: set `webhooks: private: yes`"):
        check_addresses("bot.example", ["8.8.8.8", address], UrlPolicy())
    check_addresses("bot.example", [address], UrlPolicy(private=True))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_open_internet_is_public(address):
    assert is_public(address)
    check_addresses("bot.example", [address], UrlPolicy())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://bot.example/h", "without encryption: name it with https"),
        ("ftp://bot.example/h", "no http or https"),
        ("file:///etc/passwd", "no http or https"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "no http or https"),
        ("bot.example/h", "no http or https"),
        ("https:///h", "no"),
        ("https://bot.example:99999/h", "no URL"),
        ("https://[::1/h", "no URL"),
        ("", "no http or https"),
        ("https://user:hunter2@bot.example/h", "user or a password"),
        ("https://user@bot.example/h", "user or a password"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused_with_the_remedy_and_without_its_secrets(url, why):
    with pytest.raises(UrlRefused, match=why) as refused:
        checked_url(url, UrlPolicy())
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://bot.example/h", True),
        ("https://BOT.example./h", True),
        ("https://a.hooks.example/h", True),
        ("https://hooks.example/h", False),
        ("https://bot.example.evil.test/h", False),
        ("https://evil.test/bot.example", False),
        ("https://evil.test#bot.example", False),
        ("https://tower:8443/h", True),
        ("https://tower/h", False),
    ],
)
def test_of_a_list_of_hosts_only_those_are_called(url, fits):
    rules = UrlPolicy(allow=("bot.example", "*.Hooks.example", "tower:8443"))
    if fits:
        assert str(checked_url(url, rules)).startswith("https://")
    else:
        with pytest.raises(UrlRefused, match="not on the list of hosts: add it under `webhooks: allow`"):
            checked_url(url, rules)


def test_what_the_operator_wrote_down_may_be_anywhere():
    assert checked_url("http://user:pass@127.0.0.1:8080/h", TRUSTED).host == "127.0.0.1"
    with pytest.raises(UrlRefused):
        checked_url("file:///etc/passwd", TRUSTED)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_another_way_to_write_loopback_is_loopback(host):
    addresses = resolve(host, 443)
    assert addresses
    with pytest.raises(UrlRefused):
        check_addresses(host, addresses, UrlPolicy())


def test_of_a_url_no_more_than_its_host_is_shown():
    assert host_of("https://user:hunter2@bot.example/h?token=x") == "bot.example:443"
    assert host_of("https://[::1/") == host_of("nothing") == "no host"
