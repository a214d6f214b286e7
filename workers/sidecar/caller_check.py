"""Whether a caller may use the sidecar: its token, and the checks that keep web pages out."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from openfall.config.manifest_sections import ManifestSections
from openfall.workers.sidecar.sidecar_errors import SidecarError

_OWN_SITES = ("none", "same-origin")
"""What a browser says of an address that a person typed, or of a page of the sidecar itself."""


def check_caller(request: web.Request, sections: ManifestSections) -> None:
    """Raise `SidecarError` unless the request has the token. Without a token no web page may call: what it sends names
    its origin or its site, or a host that only resolves to this machine."""
    token = sections.token.get_secret_value()
    if token:
        header = request.headers.get("authorization", "")
        sent = header.removeprefix("Bearer ").strip() or request.headers.get("x-api-key", "")
        if not hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), token.encode()):
            raise SidecarError("invalid_api_key", "send the token of the sidecar as `Authorization: Bearer TOKEN`")
    elif "origin" in request.headers or request.headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise SidecarError("not_allowed", "a web page may not call a sidecar without a token: set `token`")
    elif not sections.open and not _is_address(request.host):
        raise SidecarError("not_allowed", "call the sidecar by its address, such as 127.0.0.1, or set `token`")


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
