"""The OpenAPI document as a page for people: without scripts, and without anything of another host. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

Document = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
code,.path{font-family:ui-monospace,monospace;font-size:.92em}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}
.method{display:inline-block;min-width:4.5rem;font-weight:600}
.what{opacity:.75}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--soft)}
h2{margin-top:2rem;border-bottom:1px solid var(--line)}
nav a{margin-right:.8rem}
"""
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def api_page(document: Document) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} HTTP API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_text(info['description'])}</p>"
        f"<nav>{''.join(_links(document))}</nav><main>{''.join(_sections(document))}</main>"
        f"<h2>Errors</h2>{''.join(_forms(document))}</body></html>"
    )


def _operations(document: Document) -> dict[str, list[tuple[str, str, Document]]]:
    """The operations by their tag: method, path, operation."""
    tags: dict[str, list[tuple[str, str, Document]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append((method, path, operation))
    return tags


def _links(document: Document) -> Iterator[str]:
    root_path = document["servers"][0]["url"].rstrip("/")
    yield f'<a href="{escape(root_path)}/openapi.json">openapi.json</a>'
    yield from (f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in _operations(document))


def _sections(document: Document) -> Iterator[str]:
    for tag, operations in _operations(document).items():
        yield f'<h2 id="{escape(tag)}">{escape(tag)}</h2>'
        for method, path, operation in operations:
            head = f'<span class="method">{method.upper()}</span><span class="path">{escape(path)}</span>'
            yield f'<details id="{escape(operation["operationId"])}"><summary>{head} '
            yield f'<span class="what">{escape(operation["summary"])}</span></summary>'
            yield from _details(document, operation)
            yield "</details>"


def _details(document: Document, operation: Document) -> Iterator[str]:
    if not operation["security"]:
        yield "<p>It needs no key.</p>"
    yield _table("Parameters", (_parameter(document, each) for each in operation["parameters"]))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield _table(f"Body, {kind}", _fields(body["schema"]))
    yield _table("Answers", (_answer(status, answer) for status, answer in operation["responses"].items()))


def _parameter(document: Document, parameter: Document) -> tuple[str, str, str]:
    if "$ref" in parameter:
        parameter = document["components"]["parameters"][parameter["$ref"].rsplit("/", 1)[-1]]
    return parameter["name"], f"{parameter['in']}, {_values(parameter['schema'])}", parameter.get("description", "")


def _fields(schema: Document) -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        need = "required" if name in schema.get("required", ()) else ""
        yield name, _values(field), field.get("description", need)
    yield "...", "any", "Further fields of the API are passed on."


def _answer(status: str, answer: Document) -> tuple[str, str, str]:
    kinds = ", ".join(answer["content"])
    headers = ", ".join(answer.get("headers", {}))
    return status, kinds, f"{answer['description']} Headers: {headers}." if headers else answer["description"]


def _forms(document: Document) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield _table(name, ((field, _values(shape), "") for field, shape in schema["properties"].items()))


def _values(schema: Document) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    inner = ", ".join(schema.get("properties", {}))
    return (" or ".join(kind) if isinstance(kind, list) else kind) + (f" ({inner})" if inner else "")


def _table(title: str, rows: Iterator[tuple[str, str, str]]) -> str:
    lines = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{_text(text)}</td></tr>"
        for name, kind, text in rows
    ]
    return f"<h3>{escape(title)}</h3><table>{''.join(lines)}</table>" if lines else ""


def _text(text: str) -> str:
    """A sentence, with its `code`."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
