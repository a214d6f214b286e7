"""A client of the HTTP gateway that is killed and started again: `python -m tests.chaos.gateway_client`.

It carries out its share of the requests of `requests.jsonl`, some at once, and repeats at the next gateway what breaks,
as SDKs and agents do. `client-N.jsonl` gets a line for the head of a stream, the id of a background Response and the
end of a request; `events-N.jsonl` one for each event of such a Response. A client that was killed goes on with what has
no end in these files. It knows the gateway only by its HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from tests.chaos.environment import now_ms, write_line
from tests.chaos.judge.evidence import read_lines

AT_ONCE = 28
MAX_PAUSE_SECONDS = 4.0
READ_TIMEOUT_SECONDS = 90.0
LEAVE_SECONDS = 0.15
RESUMED_AT_EVERY_GATEWAY = 8
"""One in this number of background Responses is read again at every gateway, from its first event on."""


class Broken(Exception):
    """The connection or the stream broke, or the gateway says that the same request is to come again."""


class Wrong(Exception):
    """A gateway gave what it must not give."""


@dataclass
class GatewayClient:
    """One client process. `gateways` are base URLs."""

    number: int
    directory: Path
    gateways: list[str]
    http: aiohttp.ClientSession
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What earlier lives of this client noted, by request and event."""

    def note(self, request: str, event: str, **more: Any) -> None:
        write_line(
            self.directory / f"client-{self.number}.jsonl", {"id": request, "event": event, "at": now_ms(), **more}
        )

    def gateway(self, attempt: int, request: str) -> str:
        return self.gateways[(attempt + int(request[1:])) % len(self.gateways)]

    async def carry_out(self, plan: dict[str, str]) -> None:
        """Do what a request plans, until it ends."""
        request, kind = plan["id"], plan["kind"]
        if "head" in self.known.get(request, {}):
            self.note(request, "stopped")  # a program that dies in mid-stream has pressed stop
            return
        attempt, step = 0, STEPS[kind]
        while True:
            try:
                await step(self, request, attempt)
                return
            except (Broken, aiohttp.ClientError, TimeoutError, OSError) as error:
                self.note(request, "broken", why=f"{type(error).__name__}: {error}"[:200])
            except Wrong as error:
                self.note(request, "wrong", why=str(error)[:500])
                return
            attempt += 1
            pause = min(MAX_PAUSE_SECONDS, 0.5 * 2 ** min(attempt, 4)) * random.uniform(0.5, 1)
            await asyncio.sleep(0 if kind.endswith("_stream") and attempt == 1 else pause)
            self.note(request, "repeated")

    async def post(self, base: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        """The JSON of an answer. Raises `Broken`, `Wrong`."""
        async with self.http.post(base + path, json=body, headers=headers or {}) as response:
            return await read_json(response)

    async def stream(self, request: str, base: str, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The JSON of each data line of a stream. Raises `Broken`, `Wrong`."""
        async with self.http.post(base + path, json=body) as response:
            if response.status != 200:
                await read_json(response)
            self.note(request, "head")
            async for event in read_events(response):
                yield event

    def end(self, request: str, text: str | None) -> None:
        """The answer of a request is there."""
        if text != f"This is the answer to {request}":
            raise Wrong(f"the text is {text!r}")
        self.note(request, "answered")


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


def read_known(directory: Path, number: int) -> dict[str, dict[str, Any]]:
    """What earlier lives of this client have noted."""
    known: dict[str, dict[str, Any]] = {}
    for row in read_lines(directory / f"client-{number}.jsonl"):
        known.setdefault(row["id"], {})[row["event"]] = row
    for row in read_lines(directory / f"events-{number}.jsonl"):
        if row["where"] == "live":
            known.setdefault(row["id"], {})["last"] = row["number"]
    return known


ENDS = frozenset({"answered", "wrong", "left", "stopped"})


async def run(directory: Path, number: int, of: int, gateways: list[str], seconds: float) -> None:
    """Carry out the share of this client; its requests begin evenly over `seconds`."""
    known = read_known(directory, number)
    plans = [row for row in read_lines(directory / "requests.jsonl") if int(row["id"][1:]) % of == number]
    pending = [plan for plan in plans if ENDS.isdisjoint(known.get(plan["id"], {}))]
    pause = seconds / max(1, len(plans))
    began = len(plans) - len(pending)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=READ_TIMEOUT_SECONDS)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        client, room = GatewayClient(number, directory, gateways, http, known), asyncio.Semaphore(AT_ONCE)

        async def one(plan: dict[str, str]) -> None:
            async with room:
                await client.carry_out(plan)

        async with asyncio.TaskGroup() as group:
            for index, plan in enumerate(pending):
                group.create_task(one(plan))
                has_begun = plan["id"] in known or (began == 0 and index == 0)
                await asyncio.sleep(0 if has_begun else pause)


@click.command()
@click.option("--directory", required=True, type=click.Path(path_type=Path))
@click.option("--number", required=True, type=int)
@click.option("--of", required=True, type=int)
@click.option("--gateways", required=True)
@click.option("--seconds", required=True, type=float)
def main(directory: Path, number: int, of: int, gateways: str, seconds: float) -> None:
    """Carry out requests at the gateways, and note what became of them."""
    uvloop.run(run(directory, number, of, gateways.split(","), seconds))


if __name__ == "__main__":
    main()
