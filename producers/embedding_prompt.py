"""Builds and checks the request body of embeddings, in the form of OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openfall.producers.arguments import describe
from openfall.producers.errors import BadRequest
from openfall.router_core.jobs.embeddings import MAX_INPUTS, inputs_of, is_token

ENCODINGS = ("float", "base64")


def build_embeddings_body(prompt: object, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body for a text, a list of texts, or a whole body. Raises `BadRequest`."""
    if isinstance(prompt, Mapping):
        body = dict(prompt)
    elif isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes | bytearray):
        body = {"input": list(prompt)}
    else:
        body = {"input": prompt}
    for name, value in parameters.items():
        if value is not None:
            raise BadRequest(f"a request for embeddings has no option `{name}`")
    body.pop("stream", None)
    _check_input(body)
    dimensions, encoding = body.get("dimensions"), body.get("encoding_format")
    if dimensions is not None and (not is_token(dimensions) or dimensions < 1):
        raise BadRequest(f"`dimensions` must be a number of 1 or more, not {describe(dimensions)}")
    if encoding is not None and encoding not in ENCODINGS:
        raise BadRequest(f"`encoding_format` must be float or base64, not {describe(encoding)}")
    return body


def _check_input(body: Mapping[str, Any]) -> None:
    inputs = inputs_of(body)
    if not inputs:
        raise BadRequest("`input` must be a text, or a list of texts")
    if len(inputs) > MAX_INPUTS:
        raise BadRequest(f"`input` has {len(inputs):,} texts: send at most {MAX_INPUTS:,} in one request")
    for number, value in enumerate(inputs):
        if isinstance(value, list) and value and all(map(is_token, value)):
            continue
        if not isinstance(value, str):
            raise BadRequest(f"input[{number}] must be a text, or a list of token numbers, not {describe(value)}")
        if not value.strip():
            raise BadRequest(f"input[{number}] is empty: an empty text has no vector")
