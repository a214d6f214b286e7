"""The keys with which programs call the HTTP gateway.

Only their SHA-256 is kept: a key has 256 random bits, so a slow hash would add nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import MAX_MOMENT_MS, read_model, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.urgent_write import urgent_command
from openfall.router_core.vocabulary import Urgency

PREFIX = "of_"
_RANDOM_BYTES = 32


class PageRight(StrEnum):
    """What a key may do at the operator's page. `ACT` includes reading."""

    READ = "read"
    ACT = "act"


OF_THE_GATEWAY, OF_THE_PAGE = "gateway", "page"
"""The producers of the jobs of callers and of visitors without a key."""
RESERVED_NAMES = frozenset({OF_THE_GATEWAY, OF_THE_PAGE})
"""A key of such a name would read the answers of those who have none."""


class ClientKey(BaseModel):
    """What the owner of a key may do, and what holds for its jobs. The name is the producer of its jobs.

    `names`: the roles, tasks and models that it may ask for; empty: all. `per_minute` and `in_flight` limit its
    requests; None: no limit. `canned_reply`: a request that could show it to a person gets a canned text while no model
    can answer. `webhook`: the URL for the ends of its batches and its Responses of the background, unless a request
    names another. `admin`: it sees the jobs of every key. `page`: what it may do at the operator's page; None: nothing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
    digest: str = Field(repr=False)
    created_at: float = Field(0.0, ge=0, le=MAX_MOMENT_MS / 1000)
    group: str | None = None
    urgency: Urgency | None = None
    names: tuple[str, ...] = ()
    per_minute: int | None = None
    in_flight: int | None = None
    canned_reply: bool = False
    keepalive: Literal["comment", "chunk", "off"] = "comment"
    webhook: str | None = None
    admin: bool = False
    page: PageRight | None = None

    @property
    def page_right(self) -> PageRight | None:
        """What it may do at the operator's page; an administrator may act there."""
        return PageRight.ACT if self.admin else self.page


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key, by its digest. `unreadable`: the names of those that cannot be read. They open nothing, and a gateway
    with one of them still asks every caller for a key: damage in Redis opens no gateway."""

    by_digest: Mapping[str, ClientKey]
    unreadable: tuple[str, ...] = ()

    def find(self, secret: str) -> ClientKey | None:
        """The key with this secret. An unknown one takes as long as a known one: both are one hash and one look-up."""
        return self.by_digest.get(digest_of(secret))

    def __len__(self) -> int:
        return len(self.by_digest) + len(self.unreadable)


EMPTY = KeyRing({})


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    """`of_` and 43 characters: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


async def fetch_keys(link: RedisConnection) -> KeyRing:
    """Every key. One that cannot be read opens nothing. Keys that another type of value replaced are one such key,
    `overwritten`: see prelude.lua."""
    rows = pairs(await link.command("HGETALL", keys.CLIENT_KEYS))
    with link.notes.reading(keys.CLIENT_KEYS):
        known = {name: read_model(ClientKey, packed) for name, packed in rows.items()}
    unreadable = tuple(sorted(name for name, key in known.items() if key is None))
    return KeyRing({key.digest: key for key in known.values() if key is not None}, unreadable)


async def add_key(link: RedisConnection, key: ClientKey) -> bool:
    """Keep a key. False: there is one of this name."""
    return bool(
        await urgent_command(link, "HSETNX", keys.CLIENT_KEYS, key.name, key.model_dump_json(exclude_none=True))
    )


async def revoke_key(link: RedisConnection, name: str) -> bool:
    """Remove a key, also one whose name is no UTF-8. False: there is none of this name."""
    names = [each for each in await link.command("HKEYS", keys.CLIENT_KEYS) if read_text(each) == name]
    return bool(names and await link.command("HDEL", keys.CLIENT_KEYS, *names))
