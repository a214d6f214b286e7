"""The kinds of requests that a client sends to the HTTP gateway. Each is one attempt: it may break, and is repeated."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.chaos.environment import write_line

if TYPE_CHECKING:  # the client carries out these requests, and is what they are given
    from tests.chaos.gateway_client import GatewayClient

LEAVE_SECONDS = 0.15
RESUMED_AT_EVERY_GATEWAY = 8
"""One in this number of background Responses is read again at every gateway, from its first event on."""


class Broken(Exception):
    """The connection or the stream broke, or the gateway says that the same request is to come again."""


class Wrong(Exception):
    """A gateway gave what it must not give."""


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an answer. Raises `Broken` for what is to come again, `Wrong` for every other refusal."""
    text = await response.text()
    if response.status == 200:
        return json.loads(text)
    if response.headers.get("x-should-retry") == "true":
        raise Broken(f"{response.status}: {text[:120]}")
    raise Wrong(f"{response.status}: {text}")


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


async def chat(client: GatewayClient, request: str, attempt: int) -> None:
    answer = await client.post(client.gateway(attempt, request), "/v1/chat/completions", chat_body(request))
    client.end(request, answer["choices"][0]["message"]["content"])


async def short_wait(client: GatewayClient, request: str, attempt: int) -> None:
    wait = {"X-Openfall-Wait": "250ms"} if attempt < 3 else {}
    answer = await client.post(client.gateway(attempt, request), "/v1/chat/completions", chat_body(request), wait)
    client.end(request, answer["choices"][0]["message"]["content"])


async def leave_and_repeat(client: GatewayClient, request: str, attempt: int) -> None:
    if attempt == 0:
        client.note(request, "leaving")
        async with asyncio.timeout(LEAVE_SECONDS * random.uniform(0.3, 2)):
            await client.post(client.gateway(attempt, request), "/v1/chat/completions", chat_body(request))
    await chat(client, request, attempt)


async def message(client: GatewayClient, request: str, attempt: int) -> None:
    answer = await client.post(
        client.gateway(attempt, request), "/v1/messages", {**chat_body(request), "max_tokens": 99}
    )
    client.end(request, answer["content"][0]["text"])


async def response(client: GatewayClient, request: str, attempt: int) -> None:
    answer = await client.post(client.gateway(attempt, request), "/v1/responses", {"model": "chat", "input": request})
    client.end(request, text_of(answer))


async def chat_stream(client: GatewayClient, request: str, attempt: int) -> None:
    body, text, ended = {**chat_body(request), "stream": True}, "", False
    async for chunk in client.stream(request, client.gateway(attempt, request), "/v1/chat/completions", body):
        if "error" in chunk:
            raise Broken(str(chunk["error"].get("code")))
        text += chunk["choices"][0]["delta"].get("content") or ""
        ended = ended or chunk["choices"][0]["finish_reason"] == "stop"
    finish(client, request, text, ended)


async def message_stream(client: GatewayClient, request: str, attempt: int) -> None:
    body, text, ended = {**chat_body(request), "max_tokens": 99, "stream": True}, "", False
    async for event in client.stream(request, client.gateway(attempt, request), "/v1/messages", body):
        if event["type"] == "error":
            raise Broken(str(event["error"]["type"]))
        if event["type"] == "content_block_delta":
            text += event["delta"].get("text", "")
        ended = ended or event["type"] == "message_stop"
    finish(client, request, text, ended)


async def response_stream(client: GatewayClient, request: str, attempt: int) -> None:
    body, last = {"model": "chat", "input": request, "stream": True}, {"type": "none"}
    async for event in client.stream(request, client.gateway(attempt, request), "/v1/responses", body):
        last = event
    if last["type"] == "response.failed":
        raise Broken(str(last["response"]["error"]))
    finish(client, request, text_of(last.get("response", {})), last["type"] == "response.completed")


def finish(client: GatewayClient, request: str, text: str | None, ended: bool) -> None:
    if not ended:
        raise Broken("the stream has no end")
    client.end(request, text)


async def background(client: GatewayClient, request: str, attempt: int) -> None:
    known = client.known.setdefault(request, {})
    if "created" not in known:
        body = {"model": "chat", "input": request, "background": True}
        answer = await client.post(client.gateway(attempt, request), "/v1/responses", body)
        client.note(request, "created", response=answer["id"])
        known["created"] = {"response": answer["id"]}
    while True:
        async with client.http.get(
            f"{client.gateway(attempt, request)}/v1/responses/{known['created']['response']}"
        ) as got:
            answer = await read_json(got)
        if answer["status"] not in ("queued", "in_progress"):
            client.end(request, text_of(answer))
            return
        await asyncio.sleep(0.3)


async def background_stream(client: GatewayClient, request: str, attempt: int) -> None:
    """Stream a Response of the background; resume it at the next gateway, behind the last event that was read."""
    known = client.known.setdefault(request, {})
    if "created" not in known:
        body = {"model": "chat", "input": request, "background": True, "stream": True}
        got = client.http.post(f"{client.gateway(attempt, request)}/v1/responses", json=body)
    else:
        path = f"/v1/responses/{known['created']['response']}?stream=true"
        after = f"&starting_after={known['last']}" if "last" in known else ""
        got = client.http.get(client.gateway(attempt, request) + path + after)
    async with got as streamed:
        if streamed.status != 200:
            await read_json(streamed)
        async for event in read_events(streamed):
            if event["type"] == "response.failed" and await still_runs(client, request, attempt):
                raise Broken("the gateway ended the stream")
            keep_event(client, request, "live", event)
            if event["type"] == "response.completed":
                client.end(request, text_of(event["response"]))
                await read_everywhere(client, request)
                return
    raise Broken("the stream has no end")


def keep_event(client: GatewayClient, request: str, where: str, event: dict[str, Any]) -> None:
    """Note an event with its number and a digest of what it says."""
    digest = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()[:16]
    number, known = event["sequence_number"], client.known[request]
    row = {"id": request, "where": where, "number": number, "type": event["type"], "digest": digest}
    write_line(client.directory / f"events-{client.number}.jsonl", row)
    if where == "live":
        if "created" not in known:
            client.note(request, "created", response=event["response"]["id"])
            known["created"] = {"response": event["response"]["id"]}
        known["last"] = number


async def still_runs(client: GatewayClient, request: str, attempt: int) -> bool:
    known = client.known[request].get("created")
    if known is None:
        return True
    async with client.http.get(f"{client.gateway(attempt, request)}/v1/responses/{known['response']}") as got:
        return (await read_json(got))["status"] in ("queued", "in_progress", "completed")


async def read_everywhere(client: GatewayClient, request: str) -> None:
    """Read some Responses again at every gateway, from the first event on: each gateway numbers alike."""
    if int(request[1:]) % RESUMED_AT_EVERY_GATEWAY:
        return
    for number, gateway in enumerate(client.gateways):
        try:
            path = f"/v1/responses/{client.known[request]['created']['response']}?stream=true"
            async with client.http.get(gateway + path) as streamed:
                events = [event async for event in read_events(streamed)]
        except (aiohttp.ClientError, OSError):
            continue
        if events and events[-1]["type"] == "response.completed":
            for event in events:
                keep_event(client, request, f"gateway {number}", event)


async def leave_early(client: GatewayClient, request: str, attempt: int) -> None:
    """Leave for good before the head."""
    try:
        async with asyncio.timeout(1.5):
            await client.post(client.gateway(attempt, request), "/v1/chat/completions", chat_body(request, "slow"))
    except TimeoutError:
        client.note(request, "left")


async def leave_late(client: GatewayClient, request: str, attempt: int) -> None:
    """Leave for good once the head is there."""
    body = {**chat_body(request, "slow"), "stream": True}
    async with client.http.post(client.gateway(attempt, request) + "/v1/chat/completions", json=body) as got:
        if got.status != 200:
            await read_json(got)
        await asyncio.sleep(0.3)
    client.note(request, "left")


def chat_body(request: str, model: str = "chat") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": request}]}


def text_of(answer: dict[str, Any]) -> str | None:
    parts = [part for item in answer.get("output") or [] for part in item.get("content") or []]
    return "".join(part.get("text", "") for part in parts) if parts else None


STEPS: dict[str, Callable[[GatewayClient, str, int], Awaitable[None]]] = {
    step.__name__: step
    for step in (
        chat, short_wait, leave_and_repeat, message, response, chat_stream, message_stream, response_stream, background,
        background_stream, leave_early, leave_late,
    )
}  # fmt: skip
