"""Embeddings in the form of OpenAI's: the inputs of a request, and the vectors of a response. Pure.

A job keeps each vector packed: little-endian 32-bit floats in base64, as OpenAI sends them to its SDKs. As numbers they
would need three times the memory, and a JSON text of many values. A provider's numbers have 32 bits or fewer.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

MAX_INPUTS = 2048
"""The most inputs of one request, as at OpenAI."""


def inputs_of(body: Mapping[str, Any]) -> list[Any]:
    """The inputs of a request. Its `input` is one of them, or a list. An input is a text, or the numbers of its tokens,
    which only the model's own tokenizer can give."""
    value = body.get("input")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return []
    return [value] if value and all(map(is_token, value)) else value


def is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def pack_vector(numbers: Sequence[float]) -> str:
    """A vector as base64. Raises `TypeError`, `OverflowError` and `ValueError` for what is no vector of 32-bit floats:
    JSON has no form for a number that is not finite."""
    return _packed(array("f", numbers))


def unpack_vector(packed: str) -> list[float]:
    """The numbers of a packed vector. Raises `ValueError`."""
    return _unpacked(packed).tolist()


def repack_vector(packed: str) -> str:
    """A vector in base64 of another form as `pack_vector` writes it. Raises `ValueError`."""
    return _packed(_unpacked(packed))


def _packed(vector: array[float]) -> str:
    if not isfinite(sum(vector)):  # faster than a look at each
        raise ValueError("a number is not finite")
    return b64encode(_in_order(vector).tobytes()).decode()


def _unpacked(packed: str) -> array[float]:
    return _in_order(array("f", b64decode(packed, validate=True)))


def _in_order(vector: array[float]) -> array[float]:
    if sys.byteorder == "big":  # pragma: no cover - no machine of ours
        vector.byteswap()
    return vector


def embeddings_body(vectors: Iterable[str], model: str, tokens: int | None) -> dict[str, Any]:
    """A whole response with packed vectors."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens or 0, "total_tokens": tokens or 0}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def packed_vectors(body: Mapping[str, Any]) -> list[str]:
    """The packed vectors of a whole response, in the order of the inputs."""
    return [entry["embedding"] for entry in body.get("data", ())]
