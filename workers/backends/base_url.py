"""The address and the key of an endpoint, checked once, so that no call has to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from yarl import URL

_VERSION = re.compile(r"/v\d\w*(/|$)", re.IGNORECASE)
_ENDS_IN_VERSION = re.compile(r"/v\d\w*$", re.IGNORECASE)
_CHAT = re.compile(r"(/v\d\w*)/chat$", re.IGNORECASE)
_OTHER_ENDPOINTS = ("/models", "/responses", "/chat/completions", "/completions", "/embeddings", "/messages")
"""Endpoints of an API that people copy in place of its base."""

_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

_NO_HOST = "the url of a backend names no host that can exist: check its host and port"


@dataclass(frozen=True, slots=True)
class Address:
    """`root` is where the server's own paths begin; `version` precedes the paths of an API: `/v1`.

    `other_version`: what precedes them at some servers, if the url leaves it open. None: the url says it.
    """

    root: URL
    version: str
    other_version: str | None = None

    def at(self, path: str) -> URL:
        """The url of a path below the root, with its query."""
        path, _, query = path.partition("?")
        url = self.root.with_path(self.root.raw_path.rstrip("/") + path, encoded=True, keep_query=True)
        return url.extend_query(query) if query else url


def parse_address(url: str, *endings: str, prefixes: Mapping[str, str] = MappingProxyType({})) -> Address:
    """The address of a base url, in the forms that people have. `ValueError` for a url that cannot be called.

    - It names its version (`/v1`, `/v1beta/openai`), or leaves it out: then it is `/v1`, or the server has none.
    - It names a version and more (`/v4/accounts/x/ai`): then the server may have a further `/v1` behind that.
    - It is the whole address of an endpoint: it ends with one of the `endings`. Then nothing is added to what precedes
      the ending. The same holds for the address of an Azure deployment.
    - It is the bare host of a provider whose API begins elsewhere, or has a part of that beginning (`/v1` in place of
      `/openai/v1`). `prefixes` has the whole by the host's ending.
    """
    base = _checked(url.strip())
    path = base.raw_path.rstrip("/")
    ending = next((ending for ending in endings if path.endswith(ending)), "")
    path = path.removesuffix(ending)
    has_api_version = "api-version" in base.query  # of Azure, which has no other version then
    for other in () if ending or has_api_version else _OTHER_ENDPOINTS:
        path = path.removesuffix(other)
    path = _CHAT.sub(r"\1", path)
    prefix = next((prefix for host, prefix in prefixes.items() if f".{base.host}".endswith(f".{host}")), None)
    if prefix is not None and not ending and (prefix.startswith(path) or prefix.endswith(path)):
        path, is_whole = prefix, True
    else:
        is_whole = bool(ending) or "/deployments/" in path or has_api_version
    version = _VERSION.search(path)
    if version:
        root, named = path[: version.start()], path[version.start() :].rstrip("/")
        other_version = None if is_whole or _ENDS_IN_VERSION.search(path) else f"{named}/v1"
    else:
        root, named = path, "" if is_whole else "/v1"
        other_version = None if is_whole else ""
    return Address(base.with_path(root or "/", encoded=True, keep_query=True), named, other_version)


def is_azure(url: str) -> bool:
    """Whether the host is one of Azure's."""
    return f".{URL(url).host}".endswith(_AZURE)


def bearer(key: str) -> dict[str, str]:
    """The header with the key as a bearer token; none for an empty key."""
    key = key.strip()
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
