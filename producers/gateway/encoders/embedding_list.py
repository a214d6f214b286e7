"""The bodies of embeddings, from the packed vectors of a result. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from openfall.router_core.jobs.embeddings import packed_vectors, unpack_vector
from openfall.router_core.jobs.result import Result


def embedding_list(result: Result, asked_for: str, receipt: dict[str, Any] | None, *, packed: bool) -> dict[str, Any]:
    """OpenAI's whole response: each vector as base64 (`packed`) or as numbers."""
    body = dict(result.body or {})
    vectors = packed_vectors(body)
    data = [
        {"object": "embedding", "index": index, "embedding": vector if packed else unpack_vector(vector)}
        for index, vector in enumerate(vectors)
    ]
    body.update(object="list", data=data, model=asked_for)
    return body if receipt is None else {**body, "openfall": receipt}


def as_json_parts(body: dict[str, Any], name: str) -> Iterator[bytes]:
    """The JSON of a body whose list `name` is long, one entry at a time: numbers of a whole batch take seconds."""
    rest = to_json({key: value for key, value in body.items() if key != name})
    yield b'{"' + name.encode() + b'":['
    for number, entry in enumerate(body[name]):
        yield (b"," if number else b"") + to_json(entry)
    yield b"]" + (b"," + rest[1:] if rest != b"{}" else b"}")
