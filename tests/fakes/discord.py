"""A fake of Discord's webhook API, for tests and drills: what executing and editing a webhook's messages comes to.

It is faithful to Discord's documentation (Webhook Resource: execute webhook, edit webhook message; Message Resource:
embed limits; Topics: rate limits, JSON error codes): a message with its id for `?wait=true` and 204 without;
`thread_id` must be a number; an edit keeps what it does not name; 404 with code 10015 for an unknown webhook and
10008 for an unknown message; 401 with code 50027 for a wrong token; 400 with code 50006 for an empty message and
50035 for one over the limits (characters are counted in UTF-16, all embeds together may have 6,000); 429 with
`message`, `retry_after` (seconds, a float) and `global` in its body and `Retry-After` in its head; `X-RateLimit-*` on
every answer. That a webhook takes five requests in two seconds is not documented, and is what people see. It does not
show messages, keep them, or know threads.

Faults, set by `POST /fake {"fault": ...}` or in `fault`: `down` (503 and a web page, as from the proxy in front of
it), `hang` (no answer), `drop` (the message is kept, and the connection broken before the answer), `global` (a global
429). `POST /fake {"delete": ID}` deletes a message; `GET /fake` shows all messages, oldest first.

    python tests/fakes/discord.py --port 9080      # then notify: {discord:
    "http://127.0.0.1:9080/api/webhooks/1/token"}
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

WEBHOOK, TOKEN = "1", "token"
REQUESTS, SECONDS = 5, 2.0
LIMITS = {"title": 256, "description": 4096}
EMBEDS, FIELDS, NAME, VALUE, FOOTER, AUTHOR, TOGETHER, CONTENT = 10, 25, 256, 1024, 2048, 256, 6000, 2000


@dataclass
class DiscordFake:
    """One server with one webhook. `requests` has the method, the path with its query, and the body of each."""

    clock: Callable[[], float] = time.time
    fault: str = ""
    url: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    _ids: Any = field(default_factory=lambda: count(1150000000000000001))
    _recent: list[float] = field(default_factory=list)

    @property
    def embeds(self) -> list[dict[str, Any]]:
        """The embed of each message, oldest first."""
        return [message["embeds"][0] for message in self.messages.values()]

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([
            web.post("/api/webhooks/{webhook}/{token}", self._execute),
            web.patch("/api/webhooks/{webhook}/{token}/messages/{message}", self._edit),
            web.post("/fake", self._set), web.get("/fake", self._show),
        ])  # fmt: skip
        return app

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        refused = await self._refused(request, body)
        if refused is not None:
            return refused
        if not body.get("content") and not body.get("embeds"):
            return self._error(400, 50006, "Cannot send an empty message")
        message = {"id": str(next(self._ids)), "type": 0, "webhook_id": WEBHOOK, "content": "", "embeds": [], **body}
        self.messages[message["id"]] = message
        if self.fault == "drop":
            assert request.transport is not None
            request.transport.abort()
        if request.query.get("wait") == "true":
            return web.json_response(message, headers=self._headers())
        return web.Response(status=204, headers=self._headers())

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        refused = await self._refused(request, body)
        if refused is not None:
            return refused
        message = self.messages.get(request.match_info["message"])
        if message is None:
            return self._error(404, 10008, "Unknown Message")
        message.update(body)
        return web.json_response(message, headers=self._headers())

    async def _refused(self, request: web.Request, body: Any) -> web.Response | None:
        """The answer to what Discord does not do; None: it does."""
        self.requests.append((request.method, request.path_qs, body))
        if self.fault == "hang":
            await asyncio.sleep(3600)
        if self.fault == "down":
            return web.Response(status=503, text="<html>upstream connect error</html>", content_type="text/html")
        if self.fault == "global":
            return self._limited(5.0, True)
        if request.match_info["webhook"] != WEBHOOK:
            return self._error(404, 10015, "Unknown Webhook")
        if request.match_info["token"] != TOKEN:
            return self._error(401, 50027, "Invalid Webhook Token")
        now = self.clock()
        self._recent = [at for at in self._recent if at > now - SECONDS]
        if len(self._recent) >= REQUESTS:
            return self._limited(round(self._recent[0] + SECONDS - now, 3), False)
        self._recent.append(now)
        wrong = _wrong(body)
        if not request.query.get("thread_id", "1").isdigit():
            wrong = {"thread_id": "snowflake"}
        return self._error(400, 50035, "Invalid Form Body", wrong) if wrong else None

    def _limited(self, wait: float, everywhere: bool) -> web.Response:
        document = {"message": "You are being rate limited.", "retry_after": wait, "global": everywhere}
        more = {"Retry-After": str(int(wait) + 1), "X-RateLimit-Scope": "global" if everywhere else "user"}
        return web.json_response(document, status=429, headers={**self._headers(), **more})

    def _headers(self) -> dict[str, str]:
        resets = (self._recent[0] if self._recent else self.clock()) + SECONDS
        return {
            "X-RateLimit-Limit": str(REQUESTS),
            "X-RateLimit-Remaining": str(max(0, REQUESTS - len(self._recent))),
            "X-RateLimit-Reset": f"{resets:.3f}",
            "X-RateLimit-Reset-After": f"{max(0.0, resets - self.clock()):.3f}",
            "X-RateLimit-Bucket": "fa4e",
        }

    def _error(self, status: int, code: int, message: str, errors: Any = None) -> web.Response:
        document = {"message": message, "code": code, **({"errors": errors} if errors else {})}
        return web.json_response(document, status=status, headers=self._headers())

    async def _set(self, request: web.Request) -> web.Response:
        command = await request.json()
        self.fault = command.get("fault", self.fault)
        self.messages.pop(command.get("delete", ""), None)
        return web.Response(status=204)

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(list(self.messages.values()))


def _wrong(body: Any) -> dict[str, str]:
    """What is over Discord's limits: where, and by how much."""
    embeds = body.get("embeds") or []
    lengths = {"content": (body.get("content") or "", CONTENT)}
    for number, embed in enumerate(embeds):
        lengths.update({f"embeds.{number}.{name}": (embed.get(name, ""), most) for name, most in LIMITS.items()})
        lengths[f"embeds.{number}.footer"] = ((embed.get("footer") or {}).get("text", ""), FOOTER)
        lengths[f"embeds.{number}.author"] = ((embed.get("author") or {}).get("name", ""), AUTHOR)
        for place, item in enumerate(embed.get("fields", [])):
            lengths[f"embeds.{number}.fields.{place}.name"] = (item["name"], NAME)
            lengths[f"embeds.{number}.fields.{place}.value"] = (item["value"], VALUE)
    wrong = {where: f"{_length(text)} of {most}" for where, (text, most) in lengths.items() if _length(text) > most}
    wrong.update({where: "required" for where, (text, _) in lengths.items() if ".fields." in where and not text})
    if len(embeds) > EMBEDS or any(len(embed.get("fields", [])) > FIELDS for embed in embeds):
        wrong["embeds"] = "too many"
    if sum(_length(text) for where, (text, _) in lengths.items() if where != "content") > TOGETHER:
        wrong["embeds"] = f"more than {TOGETHER} characters"
    return wrong


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@asynccontextmanager
async def running(fake: DiscordFake, port: int = 0) -> AsyncIterator[DiscordFake]:
    """The fake, served on loopback; its `url` is that of its webhook."""
    runner = web.AppRunner(fake.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/webhooks/{WEBHOOK}/{TOKEN}"
    try:
        yield fake
    finally:
        await runner.cleanup()


async def _serve(port: int) -> None:
    async with running(DiscordFake(), port) as fake:
        print(fake.url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().port))
