"""Where Redis is, how it is reached, and when an accepted job counts as safe."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from openfall.router_core.catalog.field_types import CatalogEntry, Format, Seconds, Text
from openfall.router_core.redis_preconditions import Risk


class Durability(StrEnum):
    """When an accepted job counts as safe."""

    EVERYSEC = "everysec"  # in the server's memory; the server writes it to its disk within a second
    FSYNC = "fsync"  # on the server's disk, and on those of `confirm_replicas` replicas


class RedisServer(CatalogEntry):
    """One Redis: at an address, or the primary that Sentinels name. With neither it is the embedded one."""

    url: Annotated[str, Format.REDIS_URL] | None = Field(
        None,
        repr=False,
        description="The address of a Redis or Valkey: `redis://`, `rediss://` (TLS) or `unix://`. Without it and "
        "without `sentinels`: $REDIS_URL, else the embedded one.",
    )
    sentinels: tuple[Annotated[str, Format.HOST_PORT], ...] = Field(
        (), description="The Sentinels, each `host:port`. They name the primary. Instead of `url`."
    )
    service: Text | None = Field(None, description="The name under which the Sentinels monitor the primary.")
    database: Annotated[int, Field(ge=0)] | None = Field(
        None, description="The number of the database. Without it: that of `url`, else 0."
    )
    username: Text | None = Field(None, description="The ACL user. Without it: that of `url`, else the default user.")
    password: Annotated[SecretStr, Format.PASSWORD] | None = Field(
        None, description="The password of Redis. Without it: that of `url`."
    )
    sentinel_username: Text | None = Field(None, description="The ACL user of the Sentinels.")
    sentinel_password: Annotated[SecretStr, Format.PASSWORD] | None = Field(
        None, description="The password of the Sentinels."
    )
    tls: bool = Field(
        False, description="With `sentinels`: use TLS to them and to Redis. A `url` has the scheme `rediss://` for it."
    )
    tls_ca: Annotated[str, Format.FILE] | None = Field(
        None,
        description="A PEM file with the authority that signed the server's certificate. Without it: the system's.",
    )
    tls_certificate: Annotated[str, Format.FILE] | None = Field(
        None, description="A PEM file with the certificate of this client, for a server that demands one."
    )
    tls_key: Annotated[str, Format.FILE] | None = Field(
        None, description="A PEM file with the key of that certificate. Without it: the certificate's file has it."
    )
    tls_check_hostname: bool = Field(
        True, description="Refuse a certificate that was issued for another host or address."
    )
    durability: Durability = Field(
        Durability.EVERYSEC,
        description="`everysec`: a job is accepted when Redis has it. `fsync`: when it is on the disk of Redis "
        "(`WAITAOF`: Redis 7.2, or Valkey).",
    )
    confirm_replicas: Annotated[int, Field(ge=0)] = Field(
        0, description="With `durability: fsync`: the number of replicas that must have a job on their disks as well."
    )
    confirm_timeout: Seconds = Field(
        5.0,
        description="With `durability: fsync`: the longest wait. After it the caller learns that it is not confirmed.",
    )
    accept_risks: tuple[Risk, ...] = Field(
        (),
        description="[Preconditions](redis.md#preconditions) of Redis that may be unmet, by their names.",
    )

    def at(self, url: str) -> RedisServer:
        """The Redis at another address, with the same durability and accepted risks."""
        kept = ("durability", "confirm_replicas", "confirm_timeout", "accept_risks")
        return RedisServer(url=url, **{name: getattr(self, name) for name in kept})

    @property
    def is_embedded(self) -> bool:
        return self.url is None and not self.sentinels

    @property
    def uses_tls(self) -> bool:
        return self.tls if self.url is None else self.url.startswith("rediss:")

    @property
    def confirms(self) -> bool:
        """Whether a job is accepted only when it is on a disk."""
        return self.durability is Durability.FSYNC


class Contradiction(NamedTuple):
    """Two keys that do not fit together. `key` is the one to report."""

    key: str
    message: str
    remedy: str


_OF_SENTINEL = ("service", "sentinel_username", "sentinel_password", "tls")
_OF_TLS = ("tls_ca", "tls_certificate", "tls_key")
_OF_SERVER = ("database", "username", "password", *_OF_TLS)


def contradictions(server: RedisServer) -> Iterator[Contradiction]:
    """What does not fit together."""
    yield from _of_sentinels(server)
    yield from _of_a_server(server)
    if server.url is not None:
        yield from _twice(server, server.url)
    if server.tls_key is not None and server.tls_certificate is None:
        yield Contradiction("tls_key", "a key without its certificate", "Add tls_certificate.")
    if server.confirm_replicas and not server.confirms:
        yield Contradiction("confirm_replicas", "nothing waits for replicas", "Write durability: fsync.")


def _of_sentinels(server: RedisServer) -> Iterator[Contradiction]:
    if not server.sentinels:
        for key in _written(server, _OF_SENTINEL):
            remedy = "Write rediss:// in the url." if key == "tls" else "Name the sentinels, or remove the key."
            yield Contradiction(key, f"{key} is for Sentinel, and there are no sentinels", remedy)
        return
    if server.url is not None:
        yield Contradiction("sentinels", "both a url and sentinels", "Keep one of the two: Sentinels name the primary.")
    if server.service is None:
        remedy = "Add it: the NAME of `sentinel monitor NAME ...` in the configuration of the Sentinels."
        yield Contradiction("sentinels", "service is missing", remedy)


def _of_a_server(server: RedisServer) -> Iterator[Contradiction]:
    """Keys that only a server of one's own has, and those that only TLS has."""
    if server.is_embedded:
        for key in _written(server, _OF_SERVER):
            remedy = "Name a url or sentinels, or remove the key."
            yield Contradiction(key, f"the embedded Redis has no {key}", remedy)
    elif not server.uses_tls:
        for key in _written(server, _OF_TLS):
            remedy = "Write tls: yes." if server.sentinels else "Write rediss:// in the url."
            yield Contradiction(key, f"{key} is for TLS, and TLS is off", remedy)


def _twice(server: RedisServer, url: str) -> Iterator[Contradiction]:
    """Keys whose value the address has as well."""
    parts = urlsplit(url)
    in_url = {
        "username": parts.username,
        "password": parts.password,
        "database": parts.scheme != "unix" and parts.path.strip("/"),
    }
    for key, value in in_url.items():
        if value and getattr(server, key) is not None:
            yield Contradiction(key, f"the url has a {key} as well", "Keep one of the two.")


def _written(server: RedisServer, keys: tuple[str, ...]) -> list[str]:
    """Those of these keys that differ from their defaults."""
    return [key for key in keys if getattr(server, key) is not None and getattr(server, key) is not False]
