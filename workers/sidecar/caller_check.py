"""Whether a caller may use the sidecar: its token, and the checks that keep web pages out."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from openfall.config.manifest_sections import ManifestSections
from openfall.workers.sidecar.sidecar_errors import SidecarError


def check_caller(request: web.Request, sections: ManifestSections) -> None:
    """Raise `SidecarError` unless the request has the token. Without a token no web page may call: what it sends names
    its origin, or a host that only resolves to this machine."""
    token = sections.token.get_secret_value()
    if token:
        header = request.headers.get("authorization", "")
        sent = header.removeprefix("Bearer ").strip() or request.headers.get("x-api-key", "")
        if not hmac.compare_digest(sent.encode(), token.encode()):
            raise SidecarError("invalid_api_key", "send the token of the sidecar as `Authorization: Bearer TOKEN`")
    elif "origin" in request.headers:
        raise SidecarError("not_allowed", "a web page may not call a sidecar without a token: set `token`")
    elif not sections.open and not _is_address(request.host):
        raise SidecarError("not_allowed", "call the sidecar by its address, such as 127.0.0.1, or set `token`")


def _is_address(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or bool(ip_address(name))
    except ValueError:
        return False
