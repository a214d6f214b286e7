"""Commands of redis-cli for the Redis of a configuration, without its password."""

from __future__ import annotations

from urllib.parse import urlsplit


def redis_cli(url: str) -> str:
    """`redis-cli -h HOST -p PORT` for an address without a password; `redis-cli -h PRIMARY` if it names no server."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"redis-cli -s {parts.path}"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        return "redis-cli -h PRIMARY"
    tls = " --tls" if parts.scheme == "rediss" else ""
    user = f" --user {parts.username}" if parts.username else ""
    asks = " --askpass" if parts.password else ""
    return f"redis-cli -h {parts.hostname} -p {parts.port or 6379}{tls}{user}{asks}"
