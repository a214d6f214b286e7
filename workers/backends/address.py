"""The address and the key of an endpoint, checked once, so that no call has to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yarl import URL

_VERSION = re.compile(r"/v\d\w*(/|$)")
_NO_HOST = "the url of a backend names no host that can exist: check its host and port"


@dataclass(frozen=True, slots=True)
class Address:
    """`root` is where the server's own paths begin; `version` precedes the paths of an API: `/v1`."""

    root: URL
    version: str

    def at(self, path: str) -> URL:
        """The url of a path below the root, with its query."""
        path, _, query = path.partition("?")
        url = self.root.with_path(self.root.raw_path.rstrip("/") + path, encoded=True, keep_query=True)
        return url.extend_query(query) if query else url


def parse_address(url: str, *endings: str) -> Address:
    """The address of a base url. It may name its version (`/v1`, `/v1beta/openai`) or leave it out: then it is `/v1`.

    One of the `endings` at its end is ignored. `ValueError` for a url that cannot be called.
    """
    base = _checked(url)
    path = base.raw_path.rstrip("/")
    for ending in endings:
        path = path.removesuffix(ending)
    version = _VERSION.search(path)
    root, prefix = (path[: version.start()], path[version.start() :]) if version else (path, "/v1")
    return Address(base.with_path(root or "/", encoded=True, keep_query=True), prefix.rstrip("/"))


def checked_key(key: str) -> str:
    """The key without white space around it. `ValueError`, which does not repeat it, if no header can carry it."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the key of a backend has characters that no HTTP header can carry: copy it again")
    return key


def bearer(key: str) -> dict[str, str]:
    """The header with the key as a bearer token; none for an empty key."""
    key = checked_key(key)
    return {"authorization": f"Bearer {key}"} if key else {}


def _checked(url: str) -> URL:
    try:
        base = URL(url)
        host, port = base.raw_host or "", base.port
        host.encode("idna")
    except ValueError:
        raise ValueError(_NO_HOST) from None
    if not host or not 0 < (port or 80) < 2**16:
        raise ValueError(_NO_HOST)
    if base.raw_user or base.raw_password:
        raise ValueError("the url of a backend names a user: take that out, and give its password as the key")
    return base
