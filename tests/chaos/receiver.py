"""A chat's notifier and a receiver of webhooks: `python -m tests.chaos.receiver`.

`/api/webhooks/...` answers as Discord's webhooks do: POST with `?wait=true` creates a message, PATCH changes it.
`/hook` receives Standard Webhooks; every ninth new one is recorded and answered with 503, so that it is sent again.
Each line of the log is one request with its answer: `at` in epoch milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click
from aiohttp import web

REFUSE_EVERY = 9
"""Every ninth webhook is answered 503 the first time."""


@dataclass
class Receiver:
    """Records each request and its answer."""

    log: IO[str]
    known: dict[str, int] = field(default_factory=dict)
    """Webhook id -> its number."""

    def note(self, **fields: Any) -> None:
        self.log.write(json.dumps({"at": time.time() * 1000, **fields}) + "\n")
        self.log.flush()

    async def post(self, request: web.Request) -> web.Response:
        """A new message."""
        message_body = await request.json()
        message = str(10**17 + time.time_ns())
        self.note(method="POST", status=200, message=message, text=_text(message_body))
        return web.json_response({"id": message, "channel_id": "1", "content": message_body.get("content", "")})

    async def patch(self, request: web.Request) -> web.Response:
        """A changed message."""
        message_body = await request.json()
        self.note(method="PATCH", status=200, message=request.match_info["message"], text=_text(message_body))
        return web.json_response({"id": request.match_info["message"]})

    async def hook(self, request: web.Request) -> web.Response:
        """A webhook."""
        body = await request.read()
        data, hook = json.loads(body)["data"], request.headers["webhook-id"]
        new = hook not in self.known
        number = self.known.setdefault(hook, len(self.known) + 1)
        status = 503 if new and number % REFUSE_EVERY == 0 else 204
        kind = "done" if data["held_for"] is None else "degraded"
        self.note(id=hook, signed="webhook-signature" in request.headers,
                  job=data["id"], kind=kind, body=_digest(data), status=status)  # fmt: skip
        return web.Response(status=status)


def _text(message_body: dict[str, Any]) -> str:
    """The text of a message and of its embeds: headings, descriptions and fields."""
    parts = [message_body.get("content") or ""]
    for embed in message_body.get("embeds", ()):
        parts += [embed.get("title") or "", embed.get("description") or ""]
        parts += [f"{field['name']}: {field['value']}" for field in embed.get("fields", ())]
    return " | ".join(filter(None, parts))


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


@click.command()
@click.option("--port", required=True, type=int)
@click.option("--log", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(port: int, log: Path) -> None:
    """Listen on loopback until stopped."""
    with log.open("a") as file:
        receiver = Receiver(file)
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_post("/api/webhooks/{id}/{token}", receiver.post)
        app.router.add_patch("/api/webhooks/{id}/{token}/messages/{message}", receiver.patch)
        app.router.add_post("/hook", receiver.hook)
        web.run_app(app, host="127.0.0.1", port=port, print=lambda *_: click.echo("ready"), access_log=None,
                    reuse_address=True)  # fmt: skip


if __name__ == "__main__":
    main()
