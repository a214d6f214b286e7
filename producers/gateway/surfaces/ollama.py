"""Ollama's API: chat, generate and embeddings as jobs. Programs made for an Ollama need only its address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.answer import answer
from openfall.producers.gateway.caller_wait import wait_for_answer
from openfall.producers.gateway.encoders.embedding_list import embedding_list
from openfall.producers.gateway.encoders.ollama_chat import NDJSON, OllamaAnswer, line
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.model_memory import set_in_memory
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.routes import FLAG, TEXT, Endpoint, body_of, json_response
from openfall.producers.gateway.submission import submit
from openfall.producers.gateway.surfaces.embeddings import vectors_response
from openfall.router_core.jobs.result import Result
from openfall.router_core.vocabulary import GENERATE_ONLY, JobKind

_GENERATE = frozenset({"prompt", "system", "images"})
"""Fields of generate that are in the messages of a chat."""
_TYPES: Mapping[str, tuple[type, str]] = {
    "raw": (bool, "true or false"),
    "suffix": (str, "text"),
    "template": (str, "text"),
    "context": (list, "the list of numbers of an earlier answer"),
}


async def chat(exchange: Exchange) -> Response:
    """Answer a chat, streamed unless `stream` is false. Without messages it loads or unloads the model."""
    body = _without_nothing(await exchange.body())
    if not body.get("messages"):
        return await _move(exchange, body, generates=False)
    chat_body = {name: value for name, value in body.items() if name not in GENERATE_ONLY}
    return await _answer(exchange, chat_body, generates=False)


async def generate(exchange: Exchange) -> Response:
    """Answer a prompt, streamed unless `stream` is false. Without a prompt it loads or unloads the model."""
    body = _without_nothing(await exchange.body())
    if not body.get("prompt") and not body.get("images"):
        return await _move(exchange, body, generates=True)
    if not isinstance(body.get("prompt", ""), str):
        raise Refusal("bad_request", "`prompt` must be text", "prompt")
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    images = {"images": body["images"]} if body.get("images") else {}
    messages = [*system, {"role": "user", "content": body.get("prompt", ""), **images}]
    for name, (kind, words) in _TYPES.items():
        if not isinstance(body.get(name, kind()), kind):
            raise Refusal("bad_request", f"`{name}` must be {words}", name)
    kept = {name: value for name, value in body.items() if name not in _GENERATE}
    return await _answer(exchange, {"raw": False, **kept, "messages": messages}, generates=True)


async def _answer(exchange: Exchange, body: dict[str, Any], *, generates: bool) -> Response:
    accepted = await submit(exchange, body, "ollama")
    encoder = OllamaAnswer(accepted.asked_for, _now(), generates)
    return await answer(exchange, accepted, encoder, lambda result, _, receipt: encoder.whole(result, receipt))


def _without_nothing(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what means nothing: nulls, also in `options`, and empty `tools`, `options` and `format`, which
    some SDKs send with every request. `stream` is yes where it is missing."""
    options = body.get("options")
    if isinstance(options, Mapping):
        body = {**body, "options": {name: value for name, value in options.items() if value is not None}}
    empty = {name for name in ("tools", "options", "format") if not body.get(name)}
    kept = {name: value for name, value in body.items() if value is not None and name not in empty}
    if not isinstance(kept.setdefault("stream", True), bool):
        raise Refusal("bad_request", "`stream` must be true or false", "stream")
    return kept


async def _move(exchange: Exchange, body: Mapping[str, Any], *, generates: bool) -> Response:
    """Load the model that a request names, or unload it for a `keep_alive` of 0."""
    unload = body.get("keep_alive") in (0, "0", "0s", "0m")
    await set_in_memory(exchange, body, loaded=not unload)
    text = {"response": ""} if generates else {"message": {"role": "assistant", "content": ""}}
    done = {"done": True, "done_reason": "unload" if unload else "load"}
    whole = {"model": body.get("model"), "created_at": _now(), **text, **done}
    return Response(line(whole), media_type=NDJSON) if body["stream"] else json_response(whole)


async def embed(exchange: Exchange) -> Response:
    """Turn texts into vectors."""
    body = await exchange.body()
    if not body.get("input"):
        await set_in_memory(exchange, body, loaded=True)
        return json_response({"model": body.get("model"), "embeddings": []})
    result, vectors = await _vectors(exchange, body, body["input"])
    counts = {"total_duration": round(result.took * 1e9), "load_duration": 0}
    whole = {"model": body.get("model"), **counts, "prompt_eval_count": result.input_tokens or 0}
    receipt = {"openfall": receipt_of(result)}
    return await vectors_response({**whole, **receipt, "embeddings": vectors}, "embeddings", receipt_headers(result))


async def embed_prompt(exchange: Exchange) -> Response:
    """Turn one prompt into a vector (legacy)."""
    body = await exchange.body()
    result, vectors = await _vectors(exchange, body, body.get("prompt"))
    return json_response({"embedding": vectors[0]}, headers=receipt_headers(result))


async def _vectors(exchange: Exchange, body: Mapping[str, Any], texts: object) -> tuple[Result, list[list[float]]]:
    """Ollama cuts a text that is too long, unless the caller says otherwise."""
    kept = {name: body[name] for name in ("options", "keep_alive", "dimensions") if body.get(name)}
    request = {"truncate": True, **({"truncate": body["truncate"]} if "truncate" in body else {}), **kept}
    request |= {"model": body.get("model"), "input": texts}
    accepted = await submit(exchange, request, "openai", kind=JobKind.EMBEDDING)
    result = await wait_for_answer(exchange, accepted)
    whole = await asyncio.to_thread(embedding_list, result, accepted.asked_for, None, packed=False)
    return result, [entry["embedding"] for entry in whole["data"]]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


_STREAMED: dict[str, Any] = {"model": TEXT, "stream": FLAG}
_EMBED = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
ENDPOINTS = (
    Endpoint("POST", "/api/chat", chat, "Answer a chat.", body=body_of("model", **_STREAMED), stream_type=NDJSON),
    Endpoint(
        "POST", "/api/generate", generate, "Answer a prompt.", body=body_of("model", prompt=TEXT, **_STREAMED),
        stream_type=NDJSON,
    ),
    Endpoint("POST", "/api/embed", embed, "Turn texts into vectors.", body=body_of("model", model=TEXT, input=_EMBED)),
    Endpoint(
        "POST", "/api/embeddings", embed_prompt, "Turn one prompt into a vector (legacy).",
        body=body_of("model", "prompt", model=TEXT, prompt=TEXT),
    ),
)  # fmt: skip
