"""Liveness checks: one request over one connection. A client library would take 0.2 s to load."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 2.0
"""For a response on loopback. A running server responds in milliseconds."""

_MAX_RESPONSE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ValkeyState:
    """The state of a Valkey. `loaded` is the share of its data that is in memory, 0 to 1."""

    pid: int
    loaded: float


async def fetch_valkey_state(path: Path) -> ValkeyState | None:
    """The Valkey on this unix socket, or None. It responds to INFO while it loads data, unlike to PING."""
    answer = await _ask_valkey(path, b"PING\r\nINFO server persistence\r\n")
    return None if answer is None else _state(answer)


async def rewrite_files(path: Path) -> bool:
    """Let the Valkey on this unix socket rewrite its append-only file in the background, without deleted values."""
    return "started" in (await _ask_valkey(path, b"BGREWRITEAOF\r\n") or "")


async def _ask_valkey(path: Path, commands: bytes) -> str | None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_MAX_RESPONSE_BYTES)
            try:
                writer.write(commands + b"QUIT\r\n")
                return (await reader.read(-1)).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None


def _state(answer: str) -> ValkeyState | None:
    info = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    if not info.get("process_id", "").isdigit():
        return None
    pid = int(info["process_id"])
    if info.get("loading") == "0" and "+PONG" in answer:
        return ValkeyState(pid, 1.0)
    return ValkeyState(pid, min(0.99, float(info.get("loading_loaded_perc", "0").rstrip("%")) / 100))


async def get(port: int, path: str) -> tuple[int, bytes] | None:
    """Status and body of a GET on loopback; None without a response."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_MAX_RESPONSE_BYTES)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    status_line = head.split(maxsplit=2)
    return (int(status_line[1]), body) if len(status_line) > 1 and status_line[1].isdigit() else None
