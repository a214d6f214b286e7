"""The engine behind the Ollama fake: Ollama's native chat put to a llama-server, after llm/llama_server.go and
server/routes.go (`handleNativeChat`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.fakes.ollama_memory import Refused

_NAMES = {"num_predict": "n_predict", "num_keep": "n_keep"}
_TAKEN = {
    "temperature", "top_k", "top_p", "min_p", "stop", "repeat_penalty", "repeat_last_n", "frequency_penalty",
    "presence_penalty", "typical_p", "seed",
}  # fmt: skip


class Engine:
    """Client of a llama-server at `url`: its template, its tokens, its answers."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def tokens(self, messages: list[dict[str, Any]]) -> int:
        """How many tokens the messages are, as this model writes them."""
        prompt = (await self._post("/apply-template", {"messages": messages}))["prompt"]
        return len((await self._post("/tokenize", {"content": prompt, "add_special": True}))["tokens"])

    async def fitting(self, messages: list[dict[str, Any]], ctx: int, *, truncate: bool) -> list[dict[str, Any]]:
        """The messages that fit: with `truncate` the oldest are dropped without a word, but no system message and not
        the last one; what is still too long is refused in llama-server's own words."""
        first, kept = 0, messages
        while (count := await self.tokens(kept)) > ctx and truncate and first < len(messages) - 1:
            first += 1
            kept = [*(item for item in messages[:first] if item["role"] == "system"), *messages[first:]]
        if count >= ctx:
            message = f"request ({count} tokens) exceeds the available context size ({ctx} tokens), try increasing it"
            error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
            result = {"error": error | {"n_prompt_tokens": count, "n_ctx": ctx}}
            raise Refused(400, json.dumps(result))  # Ollama passes the whole body on as a string
        return kept

    async def chat(self, received: dict[str, Any], messages: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """The lines of a native answer, the last one with `done` and the counts."""
        body = _request(received, messages)
        async with self.http.post(f"{self.url}/v1/chat/completions", json=body) as response:
            if response.status >= 400:
                raise Refused(response.status, (await response.text()).strip())
            async for line in response.content:
                data = line.removeprefix(b"data: ").strip()
                if data.startswith(b"{"):
                    for piece in _lines(json.loads(data), received["model"]):
                        yield piece

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        async with self.http.post(self.url + path, json=body) as response:
            if response.status >= 400:
                raise Refused(response.status, (await response.text()).strip())
            return await response.json()


def engine_message(message: dict[str, Any]) -> dict[str, Any]:
    """One message as llama-server takes it: images as parts, arguments as a string."""
    result: dict[str, Any] = {"role": message["role"].lower(), "content": message.get("content", "")}
    if images := message.get("images"):
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}} for image in images]
        result["content"] = [{"type": "text", "text": result["content"]}, *parts]
    if calls := message.get("tool_calls"):
        result["tool_calls"] = [
            {"id": call.get("id", ""), "type": "function", "function": _named(call["function"])} for call in calls
        ]
    if "tool_call_id" in message:
        result["tool_call_id"] = message["tool_call_id"]
    return result


def _named(function: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(function["arguments"], dict):  # the arguments are an object here, and nothing else
        raise Refused(400, "json: cannot unmarshal string into Go struct field .messages.tool_calls.function.arguments")
    return {"name": function["name"], "arguments": json.dumps(function["arguments"])}


def _request(received: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    options = received.get("options") or {}
    body = {_NAMES.get(key, key): value for key, value in options.items() if key in _TAKEN or key in _NAMES}
    body |= {"messages": messages, "stream": True, "cache_prompt": True}
    if received.get("tools"):
        body["tools"] = received["tools"]
    match received.get("format"):
        case "json":
            body["response_format"] = {"type": "json_object"}
        case dict() as schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    return body


def _lines(chunk: dict[str, Any], model: str) -> list[dict[str, Any]]:
    [choice] = chunk["choices"]
    delta, finish = choice["delta"], choice.get("finish_reason")
    message = {"role": "assistant", "content": delta.get("content") or ""}
    if delta.get("reasoning_content"):
        message["thinking"] = delta["reasoning_content"]
    if not finish:
        return [_line(model, message)] if message["content"] or "thinking" in message else []
    timings = chunk.get("timings") or {}
    spent = int(timings.get("prompt_ms", 0) * 1e6), int(timings.get("predicted_ms", 0) * 1e6)
    counts = {"prompt_eval_count": timings.get("prompt_n", 0) + timings.get("cache_n", 0)}
    counts |= {"eval_count": timings.get("predicted_n", 0), "total_duration": sum(spent), "load_duration": 1}
    counts |= {"prompt_eval_duration": spent[0], "eval_duration": spent[1]}
    result = {key: count for key, count in counts.items() if count}  # omitempty: a zero is left out
    return [_line(model, message) | {"done": True, "done_reason": "length" if finish == "length" else "stop"} | result]


def _line(model: str, message: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "created_at": datetime.now(UTC).isoformat(), "message": message, "done": False}
