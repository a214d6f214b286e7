"""What does not fit together in the section of Redis."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.redis_server import Durability, RedisServer, contradictions

SENTINELS = {"sentinels": ("a:26379",), "service": "jobs"}
SECRET = SecretStr("hunter2")


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"durability": "fsync"},
        {"url": "redis://a"},
        {"url": "redis://a", "username": "app", "password": SECRET, "database": 2},
        {"url": "rediss://app:pw@a/1", "tls_ca": "ca.pem", "tls_certificate": "c.pem", "tls_key": "k.pem"},
        {"url": "unix:///run/redis.sock?db=1", "database": 1},
        {"url": "redis://a", "durability": "fsync", "confirm_replicas": 1},
        SENTINELS,
        {**SENTINELS, "sentinel_username": "s", "sentinel_password": SECRET, "tls": True, "tls_ca": "ca.pem"},
    ],
)
def test_keys_that_fit_together_are_accepted(keys: dict[str, Any]) -> None:
    assert list(contradictions(RedisServer(**keys))) == []


@pytest.mark.parametrize(
    ("keys", "reported", "message", "remedy"),
    [
        ({"url": "redis://a", **SENTINELS}, "sentinels", "both a url and sentinels", "Keep one of the two"),
        ({"sentinels": ("a:1",)}, "sentinels", "service is missing", "sentinel monitor NAME"),
        ({"url": "redis://a", "service": "jobs"}, "service", "there are no sentinels", "Name the sentinels"),
        ({"url": "redis://a", "sentinel_password": SECRET}, "sentinel_password", "there are no sentinels", "remove"),
        ({"url": "redis://a", "tls": True}, "tls", "there are no sentinels", "rediss://"),
        ({"username": "app"}, "username", "the embedded Redis has no username", "Name a url or sentinels"),
        ({"database": 0}, "database", "the embedded Redis has no database", "Name a url or sentinels"),
        ({"url": "redis://a", "tls_ca": "ca"}, "tls_ca", "TLS is off", "Write rediss:// in the url"),
        ({"url": "unix:///s", "tls_ca": "ca"}, "tls_ca", "TLS is off", "Write rediss:// in the url"),
        ({**SENTINELS, "tls_ca": "ca"}, "tls_ca", "TLS is off", "Write tls: yes"),
        ({"url": "rediss://a", "tls_key": "k"}, "tls_key", "a key without its certificate", "Add tls_certificate"),
        ({"url": "redis://:pw@a", "password": SECRET}, "password", "the url has a password", "Keep one of the two"),
        ({"url": "redis://u@a", "username": "u"}, "username", "the url has a username", "Keep one of the two"),
        ({"url": "redis://a/3", "database": 3}, "database", "the url has a database", "Keep one of the two"),
        ({"url": "redis://a", "confirm_replicas": 1}, "confirm_replicas", "nothing waits", "durability: fsync"),
    ],
)
def test_keys_that_contradict_each_other_are_refused_with_the_remedy(
    keys: dict[str, Any], reported: str, message: str, remedy: str
) -> None:
    (problem,) = contradictions(RedisServer(**keys))
    assert (problem.key, message in problem.message, remedy in problem.remedy) == (reported, True, True)


def test_another_address_keeps_the_durability() -> None:
    server = RedisServer(**SENTINELS, durability=Durability.FSYNC, confirm_replicas=1, confirm_timeout=2)
    moved = server.at("redis://b")
    assert moved == RedisServer(url="redis://b", durability=Durability.FSYNC, confirm_replicas=1, confirm_timeout=2)
    assert (server.confirms, moved.confirms, RedisServer().confirms) == (True, True, False)


def test_no_representation_shows_a_secret() -> None:
    server = RedisServer(url="redis://:hunter2@a", password=SECRET, sentinel_password=SECRET)
    assert "hunter2" not in f"{server!r} {server}"
