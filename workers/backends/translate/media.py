"""Images and documents. In OpenAI's dialect they are `data:` urls, in Anthropic's they are sources."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import mapping, string, unknown
from openfall.workers.backends.translate.openai_parts import IMAGE_STARTS, image_url
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.=-]+)*;base64,(.*)", re.DOTALL | re.IGNORECASE)
_PDF = "application/pdf"
_OTHER_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_DOCUMENT_STARTS = {"JVBERi": _PDF}
"""The type of a document by the beginning of its base64."""


def image_block(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    """An `image_url` part as an `image` block. Its `detail` only tunes, so it is omitted."""
    source = _source(image_url(part, path), path)
    if source["type"] == "base64":
        source["media_type"] = _media_type(source, IMAGE_STARTS)
        if source["media_type"] not in IMAGE_STARTS.values():  # Anthropic takes these
            raise Untranslatable("an image that is neither JPEG, PNG, GIF nor WebP")
    return {"type": "image", "source": source}


def image_part(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    """An `image` block as an `image_url` part."""
    source = mapping(block.get("source"), f"{path}.source")
    return {"type": "image_url", "image_url": {"url": _url(source, "an image", path)}}


def document_block(part: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A `file` part as a `document` block. A file with only an id is at another provider."""
    file = mapping(part.get("file"), f"{path}.file")
    if not isinstance(data := file.get("file_data"), str):
        raise Untranslatable("a file by its id")
    source = _source(data if data.startswith("data:") else f"data:{_PDF};base64,{data}", path)
    source["media_type"] = _media_type(source, _DOCUMENT_STARTS)
    if source["media_type"].startswith("text/"):
        source["media_type"] = "text/plain"
    if source["media_type"] not in (_PDF, "text/plain"):
        raise Untranslatable("a file that is neither a PDF nor a text")
    name = file.get("filename")
    return {"type": "document", "source": _plain(source, path), **({"title": name} if isinstance(name, str) else {})}


def document_parts(block: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """A `document` block as a `file` part, or as its text. A text before it has its title and context."""
    source = mapping(block.get("source"), f"{path}.source")
    title, context = block.get("title"), block.get("context")
    name = title if isinstance(title, str) and title else None
    match source.get("type"):
        case "base64":
            url = _url(source, "a document", path)
            parts = [{"type": "file", "file": {"filename": name or "document.pdf", "file_data": url}}]
        case "text":
            head = f"{name}\n\n" if name else ""
            parts = [{"type": "text", "text": head + string(source.get("data"), f"{path}.source.data")}]
        case other:
            raise unknown("a document from", str(other))
    return [{"type": "text", "text": context}, *parts] if isinstance(context, str) and context else parts


def _source(url: str, path: str) -> dict[str, Any]:
    if match := _DATA.fullmatch(url):
        return {"type": "base64", "media_type": match[1] or "", "data": "".join(match[2].split())}
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    raise Unreadable(f"{path} has a url that is neither http nor data in base64 (data:image/png;base64,...)")


def _media_type(source: Mapping[str, Any], starts: Mapping[str, str]) -> str:
    """The type of the data by its beginning, else the type that its url names. Browsers and tools write `image/jpg`, or
    name another type than the data has. Anthropic compares them."""
    named = str(source.get("media_type", "")).lower()
    by_start = next((kind for start, kind in starts.items() if source.get("data", "").startswith(start)), None)
    return by_start or _OTHER_NAMES.get(named, named)


def _plain(source: dict[str, Any], path: str) -> dict[str, Any]:
    """Plain text becomes a text source: only a PDF may be in base64."""
    if source["media_type"] == _PDF:
        return source
    try:
        text = b64decode(source["data"], validate=True).decode()
    except ValueError:
        raise Unreadable(f"{path} is not a text in base64") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _url(source: Mapping[str, Any], what: str, path: str) -> str:
    match source.get("type"):
        case "base64":
            kind, data = source.get("media_type"), source.get("data")
            return f"data:{string(kind, f'{path}.media_type')};base64,{string(data, f'{path}.data')}"
        case "url" if what == "an image":
            return string(source.get("url"), f"{path}.url")
        case other:
            raise unknown(f"{what} from", str(other))
