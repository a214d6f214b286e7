"""The files of the page: their names have a digest, so that a browser keeps each until it changes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.responses import Response

from openfall.producers.gateway.error_table import Refusal

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}


class StaticNames(NamedTuple):
    """The name of each file in a URL."""

    css: str
    js: str
    icon: str


def _load() -> dict[str, tuple[str, bytes]]:
    """By name with digest: the type and the content."""
    files = {}
    for path in sorted(_FOLDER.iterdir()):
        content = path.read_bytes()
        files[f"{path.stem}.{sha256(content).hexdigest()[:12]}{path.suffix}"] = (_TYPES[path.suffix], content)
    return files


_FILES = _load()


def _name(stem: str, suffix: str) -> str:
    return next(name for name in _FILES if name.startswith(f"{stem}.") and name.endswith(suffix))


STATIC = StaticNames(_name("page", ".css"), _name("page", ".js"), _name("icon", ".svg"))


def static_response(name: str) -> Response:
    """Raises `Refusal`."""
    if name not in _FILES:
        raise Refusal("unknown_url", f"the page has no file {name}")
    media_type, content = _FILES[name]
    return Response(content, headers=_HEADERS, media_type=media_type)
