"""Parses an answer with embeddings, in the forms of many servers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.embeddings import embeddings_body, pack_vector, repack_vector
from openfall.router_core.jobs.json_bounds import MAX_VALUES
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.workers.backends.exact_json import loads, whole_number
from openfall.workers.backends.parsing import malformed, parse_document, token_count
from openfall.workers.backends.usage import prompt_tokens, read_completion_usage

FLOAT_BYTES = 4

_LISTS = ("data", "embeddings", "embeddingsByType", "vectors", "predictions")
"""Where the vectors of an answer are."""
_TYPES = ("float", "base64")
"""The forms of vectors by which some servers group them."""
_WRAPPERS = ("result", "output", "response", "data")
_OF_ENTRY = ("embedding", "embeddings", "values", *_TYPES)
"""Where the vector of an entry is, from the outside in."""
_SEPARATORS = ", \t\r\n"
"""Between the numbers of a vector that is a text."""
_TO_STANDARD = str.maketrans("-_", "+/")


def parse_openai(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 2xx of `/embeddings`, with packed vectors."""
    document = parse_document(body, headers)
    if isinstance(document, Failure):
        return document
    data = _entries(document)
    if not data:
        return malformed("the answer has no embeddings")
    places = [_place(entry) for entry in data]
    if min(places) >= 0 and len(set(places)) == len(data):
        data = [entry for _, entry in sorted(zip(places, data, strict=True), key=lambda pair: pair[0])]
    fields = document if isinstance(document, dict) else {}
    return _of_vectors([_vector(entry) for entry in data], fields, prompt_tokens(fields.get("usage")))


def parse_ollama(body: bytes, headers: Mapping[str, str]) -> Outcome:
    """The outcome of a 200 of `/api/embed`."""
    document = parse_document(body, headers)
    if isinstance(document, Failure):
        return document
    vectors = _entries(document)
    if not vectors or not isinstance(document, dict):
        return malformed("the answer has no embeddings")
    return _of_vectors(
        [_vector(entry) for entry in vectors],
        document,
        token_count({"prompt_eval_count": 0, **document}, "prompt_eval_count"),
    )


def _entries(document: Any, *, is_inner: bool = False) -> list[Any]:
    """The entries of an answer: below `data` (OpenAI), `embeddings` (Ollama, Cohere's `float`), in the `result` or the
    `output` of a gateway, or a bare list (text-embeddings-inference, an older llama-server)."""
    if isinstance(document, list):
        return [document] if document and isinstance(document[0], int | float) else document
    if not isinstance(document, dict):
        return []
    for value in map(document.get, _LISTS):
        by_type = map(value.get, _TYPES) if isinstance(value, dict) else (value,)
        if vectors := next((entries for entries in by_type if isinstance(entries, list)), None):
            return vectors
    inner = next((inner for name in _WRAPPERS if isinstance(inner := document.get(name), dict)), None)
    if inner is not None and not is_inner:
        return _entries(inner, is_inner=True)
    return [document] if "embedding" in document else []


def _place(entry: Any) -> int:
    """The number of an entry among the texts; -1: it has none."""
    numbers = (whole_number(entry.get(name)) for name in ("index", "text_index")) if isinstance(entry, dict) else ()
    return next((number for number in numbers if number is not None), -1)


def _vector(entry: Any) -> Any:
    """The vector of an entry: the entry itself, its `embedding`, or the `values` of Google."""
    for name in _OF_ENTRY:
        entry = entry.get(name, entry) if isinstance(entry, dict) else entry
    return entry


def _of_vectors(vectors: Sequence[Any], document: Mapping[str, Any], tokens: int | None) -> Outcome:
    packed: list[str] = []
    texts = [vector for vector in vectors if isinstance(vector, str)]
    if sum(max(map(text.count, _SEPARATORS)) for text in texts) > MAX_VALUES:
        return malformed(f"the answer has more than {MAX_VALUES:,} values")
    for vector in vectors:
        if isinstance(vector, list) and vector and isinstance(vector[0], list):
            if len(vector) != 1:
                return malformed("the answer has a vector for each token: start the server with a pooling (`mean`)")
            vector = vector[0]
        try:
            text = _packed_text(vector) if isinstance(vector, str) else pack_vector(_numbers(vector))
        except (TypeError, ValueError, OverflowError):
            return malformed("a vector of the answer is not a list of numbers")
        if not text:
            return malformed("a vector of the answer is empty")
        packed.append(text)
    model = document.get("model")
    body = embeddings_body(packed, model if isinstance(model, str) else "", tokens)
    usage = replace(read_completion_usage(document), input_tokens=tokens, output_tokens=0)
    return Completion(text="", finish_reason="stop", usage=usage, body=body)


def _numbers(vector: Any) -> Any:
    """The numbers of a vector, which some servers send as texts. Raises `TypeError` and `ValueError`."""
    if not isinstance(vector, list) or not any(isinstance(number, str) for number in vector):
        return vector
    return [float(number) for number in vector]


def _packed_text(text: str) -> str:
    """A vector that arrived as a text: in base64 of any form, or as numbers. Raises `TypeError` and `ValueError`."""
    if text.lstrip().startswith("["):
        return pack_vector(_numbers(loads(text)))
    words = text.replace(",", " ").split()
    with suppress(ValueError):
        if len(words) > 1:
            return pack_vector([float(word) for word in words])
    digits = "".join(text.removeprefix(_head_of_data_url(text)).split()).rstrip("=").translate(_TO_STANDARD)
    return repack_vector(digits + "=" * (-len(digits) % FLOAT_BYTES))


def _head_of_data_url(text: str) -> str:
    head, comma, _ = text.partition(",")
    return head + comma if text.startswith("data:") else ""
