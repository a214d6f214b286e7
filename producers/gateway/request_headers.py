"""The headers of a request, found by their names at once: a submit reads 17 of them."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request


class RequestHeaders(Headers):
    """Of a header that is sent twice the first counts. Names are read in lower case."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._values = dict(reversed(raw))

    def __getitem__(self, key: str) -> str:
        return self._values[key.lower().encode("latin-1")].decode("latin-1")

    def get(self, key: str, default: Any = None) -> Any:
        value = self._values.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __contains__(self, key: Any) -> bool:
        return key.lower().encode("latin-1") in self._values


class IndexedRequest(Request):
    """A request with `RequestHeaders`."""

    @property
    def headers(self) -> RequestHeaders:
        if not hasattr(self, "_headers"):
            self._headers: RequestHeaders = RequestHeaders(self.scope["headers"])
        return self._headers
