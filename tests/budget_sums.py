"""The sums of a window of a budget as they stand in Redis, for tests that write them or read them."""

from __future__ import annotations

from struct import calcsize, pack, unpack

NUMBER = "Q"
"""A whole number of 8 bytes, the lowest first."""


def pack_sums(*sums: int) -> bytes:
    """Spent, reserved, unconfirmed and calls; and, of a window that has refused calls, refused and needed."""
    return pack(f"<{len(sums)}{NUMBER}", *sums)


def unpack_sums(packed: bytes) -> tuple[int, ...]:
    """As many as there are."""
    return unpack(f"<{len(packed) // calcsize(NUMBER)}{NUMBER}", packed)
