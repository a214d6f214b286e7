"""Where an endpoint is and what opens it: a base url and a key, checked once so that no call has to find out."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

_VERSION = re.compile(r"/v\d\w*(/|$)")
_NO_HOST = "the url of a backend names no host that there can be: check its host and port"


@dataclass(frozen=True, slots=True)
class Address:
    """`root` is where the server's own paths begin; `version` is what stands before those of an API: `/v1`."""

    root: httpx.URL
    version: str

    def at(self, path: str) -> httpx.URL:
        """The url of a path below the root, and of its query."""
        path, _, query = path.partition("?")
        url = self.root.copy_with(path=self.root.path.rstrip("/") + path)
        return url.copy_merge_params(httpx.QueryParams(query)) if query else url


def parse_address(url: str, *endings: str) -> Address:
    """The address of a base url. It may name its version (`/v1`, `/v1beta/openai`) or leave it out: then it is `/v1`.

    One of the `endings` at its end is passed over. `ValueError` for a url that cannot be called.
    """
    base = _checked(url)
    path = base.path.rstrip("/")
    for ending in endings:
        path = path.removesuffix(ending)
    found = _VERSION.search(path)
    root, version = (path[: found.start()], path[found.start() :]) if found else (path, "/v1")
    return Address(base.copy_with(path=root or "/", fragment=None), version.rstrip("/"))


def checked_key(key: str) -> str:
    """The key without white space around it; `ValueError`, which does not tell it, when no header can carry it."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the key of a backend has characters that no HTTP header can carry: copy it again")
    return key


def _checked(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
        base.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError(_NO_HOST) from None
    if not base.host or not 0 < (base.port or 80) < 2**16:
        raise ValueError(_NO_HOST)
    if base.userinfo:
        raise ValueError("the url of a backend names a user: take that out, and give its password as the key")
    return base
