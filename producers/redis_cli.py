"""Commands of redis-cli for the Redis of a configuration, without its password."""

from __future__ import annotations

from urllib.parse import urlsplit

from openfall.producers.shell_command import shell_command, shell_word

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_of_one_machine(url: str) -> bool:
    """Whether the address means another server on another machine."""
    parts = urlsplit(url)
    return parts.scheme == "unix" or parts.hostname in LOOPBACK


def redis_cli(url: str) -> str:
    """`redis-cli -h HOST -p PORT` for an address without a password; `redis-cli -h PRIMARY` if it names no server."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return shell_command("redis-cli -s", parts.path)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        return "redis-cli -h PRIMARY"
    tls = " --tls" if parts.scheme == "rediss" else ""
    user = f" --user {shell_word(parts.username)}" if parts.username else ""
    asks = " --askpass" if parts.password else ""
    return f"redis-cli -h {shell_word(parts.hostname)} -p {parts.port or 6379}{tls}{user}{asks}"
