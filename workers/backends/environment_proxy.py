"""The proxy through which calls leave a network, by the variables that other programs read.

Only calls to https addresses take it (`HTTPS_PROXY`, else `ALL_PROXY`, in either case; not what `NO_PROXY` lists): a
provider is reached by https, a server of one's own network by http. An address that is not public is never sent to a
proxy.
"""

from __future__ import annotations

import logging
from functools import cache
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL

from openfall.router_core.webhook_hosts import is_internal_host

log = logging.getLogger("openfall.worker")


def find_proxy(url: URL) -> URL | None:
    """The proxy for a call; None: it goes directly."""
    host = url.host or ""
    if url.scheme != "https" or is_internal_host(host):
        return None
    proxies = getproxies_environment()
    address = (proxies.get("https") or proxies.get("all") or "").strip()
    if not address or proxy_bypass(f"{host}:{url.port}"):
        return None
    return _parse(address)


@cache
def _parse(address: str) -> URL | None:
    try:
        proxy = URL(address if "://" in address else f"http://{address}")
    except ValueError:
        proxy = URL()
    if proxy.scheme in ("http", "https") and proxy.host:
        return proxy
    kind = f"a proxy of {proxy.scheme}" if proxy.host else "no address of a proxy"
    log.warning("HTTPS_PROXY or ALL_PROXY has %s, which is not supported: calls go without it", kind)
    return None
