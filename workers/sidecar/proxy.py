"""Passes a request on to the server of a profile, and its response back as it arrives."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from openfall.workers.sidecar.sidecar_errors import SidecarError

_OWN_HEADERS = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "content-length", "authorization", "x-api-key", "expect", "date", "server",
})  # fmt: skip
"""Headers of one connection alone, and the credentials of the sidecar."""
_OWN_QUERY = "autoload"
CONNECT_SECONDS = 5.0


class Upstream:
    """The connections to the servers. Each call has its own: llama-server closes kept ones after some streams."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept-encoding", "accept", "content-type"),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def pass_on(self, request: web.Request, body: bytes, name: str, port: int) -> web.StreamResponse:
        """The response of the server. A caller who hangs up ends the call there too. Raises `SidecarError`."""
        query = request.rel_url.query.copy()
        query.popall(_OWN_QUERY, None)
        url = URL.build(
            scheme="http", host="127.0.0.1", port=port, path=request.rel_url.raw_path, encoded=True
        ).with_query(query)
        try:
            upstream = await self._session.request(
                request.method, url, data=body or None, headers=_own(request.headers), allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SidecarError("connection", f"the server of {name} does not answer: {error}") from None
        async with upstream:
            response = web.StreamResponse(status=upstream.status, headers=_own(upstream.headers))
            response.content_length = upstream.content_length
            await response.prepare(request)
            try:
                async for piece in upstream.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
            except aiohttp.ClientError:
                if request.transport is not None:  # the caller must not take a part for the whole
                    request.transport.abort()
        return response


def _own(headers: CIMultiDict[str] | aiohttp.typedefs.LooseHeaders) -> CIMultiDict[str]:
    """The headers that belong to the message, and not to its connection."""
    kept = CIMultiDict(headers)
    for name in _OWN_HEADERS:
        kept.popall(name, None)
    return kept
