"""Images of a request that are named by a path. No model can read the files of its caller. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openfall.producers.errors import BadRequest

_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+:")
"""How a URL begins; HTTP clients ignore blanks before it. The drive of a path of Windows has one letter."""
_NOT_BASE64 = re.compile(r"[.\\~]")
"""Blanks and line breaks are between the lines of base64 in a mail."""
_LONGEST_PATH = 4096
_URL = "https://..., or its data as data:image/png;base64,..."
_DATA = "its data in base64"


def refuse_paths(location: str, message: Mapping[str, Any]) -> None:
    r"""Raises `BadRequest` for an image of a message that is a path: `frames/0011.png`, `C:\frames\0012.png`.

    A `file:` URL passes: some servers read such files of their own machine.
    """
    _check_parts(f"{location}.content", message.get("content"))
    images = message.get("images")  # of Ollama's dialect
    for number, image in enumerate(images if isinstance(images, list) else ()):
        _refuse_path(f"{location}.images[{number}]", image, _DATA)


def _check_parts(location: str, content: Any) -> None:
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict) or part.get("type") == "text":
            continue
        place = f"{location}[{number}]"
        match part:
            case {"image_url": {"url": url}} | {"image_url": url}:
                _refuse_path(f"{place}.image_url", url, _URL)
            case {"type": "image", "image": url}:
                _refuse_path(f"{place}.image", url, _URL)
            case {"type": "image", "source": {"type": "url", "url": url}}:
                _refuse_path(f"{place}.source.url", url, _URL)
            case {"type": "image", "source": {"type": "base64", "data": data}}:
                _refuse_path(f"{place}.source.data", data, _DATA)
            case {"type": "tool_result", "content": result}:
                _check_parts(f"{place}.content", result)


def _refuse_path(place: str, value: Any, remedy: str) -> None:
    if not isinstance(value, str) or len(value) > _LONGEST_PATH:
        return
    if not _SCHEME.match(value) and _NOT_BASE64.search(value):
        raise BadRequest(f"{place} is the path of a file, and no model can read your files: write {remedy}")
