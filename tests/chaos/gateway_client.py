"""A client of the HTTP gateway that is killed and started again: `python -m tests.chaos.gateway_client`.

It carries out its share of the requests of `requests.jsonl`, some at once, and repeats at the next gateway what breaks,
as SDKs and agents do. `client-N.jsonl` gets a line for the head of a stream, the id of a background Response, a repeat
and the end of a request; `events-N.jsonl` one for each event of such a Response. A client that was killed goes on with
what has no end in these files. It knows the gateway only by its HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from tests.chaos.environment import now_ms, write_line
from tests.chaos.gateway_requests import STEPS, Broken, Wrong, read_events, read_json
from tests.chaos.judge.evidence import read_lines

AT_ONCE = 28
MAX_PAUSE_SECONDS = 4.0
READ_TIMEOUT_SECONDS = 90.0
ENDS = frozenset({"answered", "wrong", "left", "stopped"})


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


def read_known(directory: Path, number: int) -> dict[str, dict[str, Any]]:
    """What earlier lives of this client have noted."""
    known: dict[str, dict[str, Any]] = {}
    for row in read_lines(directory / f"client-{number}.jsonl"):
        known.setdefault(row["id"], {})[row["event"]] = row
    for row in read_lines(directory / f"events-{number}.jsonl"):
        if row["where"] == "live":
            known.setdefault(row["id"], {})["last"] = row["number"]
    return known


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
