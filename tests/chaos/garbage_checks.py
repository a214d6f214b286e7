"""What must work after each damage of the scenario `garbage`: the APIs of the gateway, its page, clients, commands.

Each check asks for something new, so no damaged job or file is its own. It returns a problem in words, or nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from openfall import AsyncOpenfall
from tests.chaos.garbage_fleet import CLIENT_KEY, GarbageFleet
from tests.chaos.judge.promise import PATIENCE

TIMEOUT_SECONDS = 20.0 * PATIENCE
POLL_SECONDS = 0.1
HEALTHY_CODES = (0, 8)
"""Exit codes of reading commands; 8: `status` has something to say."""
DEAD_ROLE_CODE = 4
"""Of `status`: the fleet has a role without a model that answers, and its jobs are held."""
READS = (
    "status", "job list", "queues", "workers", "models", "cards", "cards --memory", "breakers", "breakers --history",
    "held list", "audit", "spend", "usage", "stats", "budgets", "outbox", "top --once", "inbox", "inbox bot",
    "batch list", "keys list", "local-only", "metrics", "resolve good --explain",
)  # fmt: skip
PAGES = (
    "/", "/job", "/batch", "/outbox", "/inbox", "/model", "/breaker", "/cards", "/statistics", "/cost", "/keys",
    "/audit", "/config", "/try",
)  # fmt: skip
GETS = (
    "/metrics", "/v1/models", "/models/status", "/health", "/v1/jobs", "/v1/inboxes/bot", "/v1/files", "/v1/batches",
    "/v1/messages/batches", "/api/tags", "/api/ps",
)  # fmt: skip


class Problem(Exception):
    """A check failed; the message says how."""


@dataclass
class Checks:
    """The checks of one run. `earlier`: what existed before the damages, by its path at the gateway."""

    fleet: GarbageFleet
    client: AsyncOpenfall
    http: httpx.AsyncClient
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    cookie: str = ""

    def text(self) -> str:
        return f"question {next(self.numbers)}"

    async def run(self) -> list[str]:
        """Every check once; returns their problems."""
        return [problem for problem in await asyncio.gather(*map(self._run_one, CHECKS)) if problem]

    async def _run_one(self, name: str) -> str:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await CHECKS[name](self)
        except TimeoutError:
            return f"{name}: no end within {TIMEOUT_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return f"{name}: {type(error).__name__}: {error}"[:400]
        return ""

    async def request(self, method: str, path: str, **more: object) -> httpx.Response:
        """A request with the key; a refusal is a problem, but for one that says to come again."""
        while True:
            headers = {"authorization": f"Bearer {self.fleet.key}"}
            response = await self.http.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
            if response.status_code < 400:
                return response
            if response.status_code >= 500 and response.headers.get("x-should-retry") == "true":
                await asyncio.sleep(POLL_SECONDS)
                continue
            raise Problem(f"{method} {path}: {response.status_code} {response.text[:200]}")

    async def post(self, path: str, body: object) -> httpx.Response:
        return await self.request("POST", path, json=body)


def same(actual: object, wanted: object) -> None:
    if actual != wanted:
        raise Problem(f"{actual!r} in place of {wanted!r}"[:300])


async def chat(checks: Checks) -> None:
    text = checks.text()
    answer = await checks.post("/v1/chat/completions", chat_body(text))
    same(answer.json()["choices"][0]["message"]["content"], answer_to(text))


async def stream(checks: Checks) -> None:
    answer = await checks.post("/v1/chat/completions", {**chat_body(text := checks.text()), "stream": True})
    rows = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    same(
        "".join(row["choices"][0]["delta"].get("content") or "" for row in rows if row.get("choices")), answer_to(text)
    )


async def message(checks: Checks) -> None:
    answer = await checks.post("/v1/messages", {**chat_body(text := checks.text()), "max_tokens": 99})
    same(answer.json()["content"][0]["text"], answer_to(text))


async def response(checks: Checks) -> None:
    first = (await checks.post("/v1/responses", {"model": "good", "input": checks.text()})).json()
    body = {"model": "good", "input": (text := checks.text()), "background": True, "previous_response_id": first["id"]}
    second = (await checks.post("/v1/responses", body)).json()
    while second["status"] in ("queued", "in_progress"):
        await asyncio.sleep(POLL_SECONDS)
        second = (await checks.request("GET", f"/v1/responses/{second['id']}")).json()
    same(second["output"][0]["content"][0]["text"], answer_to(text))


async def vectors(checks: Checks) -> None:
    answer = await checks.post("/v1/embeddings", {"model": "nomic", "input": [checks.text()]})
    same(answer.json()["data"][0]["embedding"], [0.5, 1.5])


async def store_file(checks: Checks, data: bytes) -> str:
    files = {"file": ("in.jsonl", data), "purpose": (None, "batch")}
    return str((await checks.request("POST", "/v1/files", files=files)).json()["id"])


async def stored_file(checks: Checks) -> None:
    id_ = await store_file(checks, b"some data")
    same((await checks.request("GET", f"/v1/files/{id_}/content")).content, b"some data")
    await checks.request("DELETE", f"/v1/files/{id_}")


async def submit_batch(checks: Checks, model: str, text: str) -> Any:
    """A batch of one request at the gateway."""
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat_body(text, model)}
    file = await store_file(checks, json.dumps(row).encode())
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return (await checks.post("/v1/batches", body)).json()


async def batch(checks: Checks) -> None:
    made = await submit_batch(checks, "good", text := checks.text())
    while made["status"] not in ("completed", "failed", "expired", "cancelled"):
        await asyncio.sleep(POLL_SECONDS)
        made = (await checks.request("GET", f"/v1/batches/{made['id']}")).json()
    same(made["status"], "completed")
    lines = (await checks.request("GET", f"/v1/files/{made['output_file_id']}/content")).json()
    same(lines["response"]["body"]["choices"][0]["message"]["content"], answer_to(text))


async def page(checks: Checks) -> None:
    for path in PAGES:
        shown = await _page(checks, path)
        if shown.status_code == 303 or "sign-in" in str(shown.headers.get("location", "")):
            await sign_in(checks)  # a session that cannot be read is none
            shown = await _page(checks, path)
        if shown.status_code != 200 or "</html>" not in shown.text:
            raise Problem(f"GET {path}: {shown.status_code} {shown.text[-200:]}")


async def _page(checks: Checks, path: str) -> httpx.Response:
    headers = {"accept": "text/html", "cookie": f"openfall_session={checks.cookie}"}
    return await checks.http.get(path, headers=headers)


async def sign_in(checks: Checks) -> None:
    headers = {"origin": checks.fleet.gateway}
    answer = await checks.http.post("/page/sign-in", data={"key": checks.fleet.key}, headers=headers)
    same(answer.status_code, 303)
    checks.cookie = answer.cookies["openfall_session"]
    checks.http.cookies.clear()


async def gets(checks: Checks) -> None:
    for path in GETS:
        await checks.request("GET", path)


async def commands(checks: Checks) -> None:
    for command in READS:
        code, output = await asyncio.to_thread(checks.fleet.cli, *command.split())
        if code not in HEALTHY_CODES and not (
            code == DEAD_ROLE_CODE and "The role dead gets no answer; other" in output
        ):
            raise Problem(f"openfall {command}: {code} {output[:300]}")


def job_of(role: str, **terms: object) -> Callable[[Checks], Awaitable[None]]:
    """A job of a role is answered, and can say why."""

    async def check(checks: Checks) -> None:
        result = await checks.client.ask(checks.text(), role=role, timeout=TIMEOUT_SECONDS, **terms)  # type: ignore[arg-type]
        same((result.answered, bool(result.selection_reason)), (True, True))
        code, output = await asyncio.to_thread(checks.fleet.cli, "job", "why", result.id)
        same((code, "answered" in output), (0, True))

    return check


async def new_client(checks: Checks) -> None:
    """A client that starts now looks at the server and at the fleet first."""
    async with AsyncOpenfall(config=checks.fleet.environment.config) as client:
        same((await client.ask(text := checks.text(), role="good", timeout=TIMEOUT_SECONDS)).text, answer_to(text))


async def inbox(checks: Checks) -> None:
    receipt = await checks.client.submit(checks.text(), role="good", inbox=CLIENT_KEY)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for delivery in checks.client.inbox(CLIENT_KEY):
            await delivery.ack()
            if delivery.result.id == receipt.id:
                return


def chat_body(text: str, model: str = "good") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def answer_to(text: str) -> str:
    return f"This is the answer to {text}"


CHECKS: Mapping[str, Callable[[Checks], Awaitable[None]]] = {
    "chat": chat, "stream": stream, "message": message, "response": response, "embeddings": vectors, "batch": batch,
    "file": stored_file, "page": page, "reads of the gateway": gets, "commands": commands, "inbox": inbox,
    "new client": new_client,
    "job": job_of("good"), "job with a last answer": job_of("last"), "job of a flat plan": job_of("limited"),
    "job of a card": job_of("alpha", urgency="interactive"), "paid job": job_of("dear", urgency="interactive"),
}  # fmt: skip
