"""Which URLs and addresses a webhook may be posted to."""

from __future__ import annotations

import pytest

from openfall.workers.outbox.webhook_url_check import (
    TRUSTED,
    UrlPolicy,
    UrlRefused,
    check_addresses,
    check_url,
    host_and_port,
    resolve_host,
)


def test_one_internal_address_refuses_a_host_unless_the_policy_allows_it():
    with pytest.raises(UrlRefused, match=r"bot\.example is at 10\.0\.0\.1, .*: set `webhooks: private: yes`"):
        check_addresses("bot.example", ["8.8.8.8", "10.0.0.1"], UrlPolicy())
    check_addresses("bot.example", ["10.0.0.1"], UrlPolicy(allow_private=True))
    check_addresses("bot.example", ["8.8.8.8", "2606:4700::1111"], UrlPolicy())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://bot.example/h", "without encryption: use https"),
        ("ftp://bot.example/h", "not an http or https URL"),
        ("file:///etc/passwd", "not an http or https URL"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "not an http or https URL"),
        ("bot.example/h", "not an http or https URL"),
        ("https:///h", "not a"),
        ("https://bot.example:99999/h", "not a URL"),
        ("https://[::1/h", "not a URL"),
        ("", "not an http or https URL"),
        ("https://user:hunter2@bot.example/h", "a user or a password"),
        ("https://user@bot.example/h", "a user or a password"),
    ],
)
def test_a_refusal_names_the_remedy_and_no_secret(url, reason):
    with pytest.raises(UrlRefused, match=reason) as refused:
        check_url(url, UrlPolicy())
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "allowed"),
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
def test_only_listed_hosts_are_allowed(url, allowed):
    policy = UrlPolicy(allow=("bot.example", "*.Hooks.example", "tower:8443"))
    if allowed:
        assert str(check_url(url, policy)).startswith("https://")
    else:
        with pytest.raises(UrlRefused, match="not on the list of hosts: add it under `webhooks: allow`"):
            check_url(url, policy)


def test_the_operator_may_use_any_http_url():
    assert check_url("http://user:pass@127.0.0.1:8080/h", TRUSTED).host == "127.0.0.1"
    with pytest.raises(UrlRefused):
        check_url("file:///etc/passwd", TRUSTED)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_every_spelling_of_loopback_resolves_to_a_refused_address(host):
    addresses = resolve_host(host, 443)
    assert addresses
    with pytest.raises(UrlRefused):
        check_addresses(host, addresses, UrlPolicy())


def test_logs_show_only_the_host_and_port_of_a_url():
    assert host_and_port("https://user:hunter2@bot.example/h?token=x") == "bot.example:443"
    assert host_and_port("https://[::1/") == host_and_port("nothing") == "no host"
