"""Which hosts a webhook may go to: producers and workers apply the same rules."""

from __future__ import annotations

import pytest

from openfall.router_core.webhook_hosts import is_allowed_host, is_internal_host, is_public_address

INTERNAL = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "168.63.129.16",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "2002:7f00:1::", "2002:0808:0808::1", "2001:0:808:808::1", "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "162.159.136.232", "2606:4700::1111",
    "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", INTERNAL)
def test_an_internal_address_is_refused_by_producers_and_by_workers(address):
    assert is_internal_host(address)
    assert not is_public_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_accepted_by_producers_and_by_workers(address):
    assert not is_internal_host(address)
    assert is_public_address(address)


@pytest.mark.parametrize("host", ["localhost", "hooks.localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_every_spelling_of_loopback_is_internal(host):
    assert is_internal_host(host)


def test_a_host_name_is_not_internal_before_it_is_resolved():
    assert not is_internal_host("hooks.example")


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("bot.example", 443, True),
        ("bot.example", 8443, True),
        ("a.hooks.example", 443, True),
        ("hooks.example", 443, False),
        ("bot.example.evil.test", 443, False),
        ("tower", 8443, True),
        ("tower", 443, False),
    ],
)
def test_only_a_host_that_matches_a_pattern_is_allowed(host, port, allowed):
    assert is_allowed_host(host, port, ("bot.example", "*.Hooks.example", "tower:8443")) is allowed
