"""The server-side scripts: their text, as Redis gets it, and their SHA1, as it knows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

from openfall.router_core.state.keys import lua_names


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    text: bytes
    sha: str


_ALL = ("lib/prelude", "lib/falling", "lib/ending")
_LIBRARIES = {
    "claim": ("breaker", "seats", "turns", "probing"), "survey": ("seats",),
    "settle": ("breaker", "call", "hold"), "release": ("hold",),
    "probe": ("breaker",), "force": ("breaker",), "report": ("breaker", "call"),
}  # fmt: skip
"""What else stands before a script that shares more than what all do."""


@cache
def load(name: str) -> Script:
    """The script of that name: the keys, what it shares with others, and its own file, in order."""
    here = files("openfall.router_core.state") / "lua"
    # Redis refuses writes when its memory is full: accept must hear that, but what is in flight must be able to end.
    flags = "#!lua\n" if name == "accept" else "#!lua flags=allow-oom\n"
    parts = (*_ALL, *(f"lib/{library}" for library in _LIBRARIES.get(name, ())), name)
    text = flags + lua_names() + "".join((here / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return Script(name, text.encode(), sha1(text.encode(), usedforsecurity=False).hexdigest())
