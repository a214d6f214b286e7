"""The server-side scripts, each a function library of its own: its shared part runs once, when it is loaded.

The name of a library has the hash of its text: fleets of different versions can share a server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path

from openfall.router_core.state import keys

_FOLDER = Path(__file__).with_name("lua")
"""By its path: `importlib.resources` takes locks of imports, for which a child that is forked meanwhile would wait."""

_MAIN = "local function main(_, ARGV)\nlocal now, args = clock(ARGV), cjson.decode(ARGV[2])\n"
_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its `function` on the server, the `library` for `FUNCTION LOAD`, and the `text` for `EVAL`."""

    function: str
    library: bytes
    text: bytes


@cache
def load(name: str) -> Script:
    """A script with the key names and the libraries that it uses."""
    body = _read(name)
    prelude, libraries = _read("lib/prelude"), "".join(map(_read, _includes(body)))
    body, libraries = body.replace("redis.call(", "guarded_call("), libraries.replace("redis.call(", "guarded_call(")
    libraries = prelude + libraries
    # Redis refuses writes when its memory is full. What brings new data must fail then, but jobs in flight can end.
    allow_oom = name not in ("accept", "response_store")
    flags = ", flags = {'allow-oom'}" if allow_oom else ""
    main = keys.with_key_names(f"{libraries}{_MAIN}{body}end\n")
    function = f"openfall_{name}_{sha1((main + flags).encode(), usedforsecurity=False).hexdigest()[:12]}"
    register = f"redis.register_function{{function_name = '{function}', callback = main{flags}}}\n"
    return Script(
        function,
        f"#!lua name={function}\n{main}{register}".encode(),
        f"#!lua{' flags=allow-oom' * allow_oom}\n{main}return main(KEYS, ARGV)\n".encode(),
    )


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def _includes(text: str) -> list[str]:
    """The libraries that a text includes, directly or through another, each once and before those that use it."""
    names: dict[str, None] = {}
    for library in _INCLUDE.findall(text):
        names |= dict.fromkeys([*_includes(_read(f"lib/{library}")), f"lib/{library}"])
    return list(names)
