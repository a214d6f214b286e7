"""The error messages of the Ollama fake, and its durations. The messages are Ollama's own: see the sources
named in `tests.fakes.ollama`; those of its cloud are from public bug reports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from tests.fakes.ollama_memory import BUSY, OUT_OF_MEMORY, FakeModel, Refused

CRASH = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)
UPGRADE = "https://ollama.com/upgrade"
REFUSALS: dict[str, Refused] = {
    "not_found": Refused(404, "model '{name}' not found"),
    "signin": Refused(401, "unauthorized", signin_url="https://ollama.com/connect?name=here&key=c3NoLWVk"),
    "subscription": Refused(403, f"this model requires a subscription, upgrade for access: {UPGRADE}"),
    "cloud_disabled": Refused(403, "ollama cloud is disabled: remote model is unavailable"),
    "unreachable": Refused(502, "dial tcp: lookup ollama.com: no such host"),
    "session_limit": Refused(
        429, f"you (haruka) have reached your session usage limit, upgrade for higher limits: {UPGRADE}"
    ),
    "weekly_limit": Refused(
        429, f"you (haruka) have reached your weekly usage limit, upgrade for higher limits: {UPGRADE}"
    ),
    "busy": Refused(503, BUSY),
    "crash": Refused(500, CRASH),
}
"""The error before any load, by the name of the fault."""

_STREAMED = {"error_line": "an error was encountered while running the model: EOF", "oom_line": OUT_OF_MEMORY}
FOREVER = 100 * 365 * 86400.0


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smh])")


def refusal(fault: str | None, name: str) -> Refused | None:
    """What a model with that fault is answered with, if it is one of `REFUSALS`."""
    translated = REFUSALS.get(fault or "")
    if translated is None:
        return None
    more = {key: value for key, value in translated.body.items() if key != "error"}
    return Refused(translated.status, translated.body["error"].format(name=name), **more)


def canonical(name: str) -> str:
    """A model without a tag is the one tagged `latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def in_dialect(path: str, refused: Refused) -> dict[str, Any]:
    text = refused.body["error"]
    if not path.startswith("/v1/"):
        return refused.body
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    if path != "/v1/messages":
        kind = kinds.get(refused.status, "api_error")
        return {"error": {"message": text, "type": kind, "param": None, "code": None}}
    kinds |= {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error"}
    error = {"type": kinds.get(refused.status, "api_error"), "message": text}
    return {"type": "error", "error": error, "request_id": "req_fake"}


def check_capabilities(model: FakeModel, received: dict[str, Any]) -> None:
    if received.get("tools") and "tools" not in model.capabilities:
        raise Refused(400, f"registry.ollama.ai/library/{model.name} does not support tools")
    if received.get("think") and "thinking" not in model.capabilities:
        raise Refused(400, f'"{received["model"]}" does not support thinking')


def generation(model: FakeModel, received: dict[str, Any]) -> dict[str, Any]:
    """A generate as a chat (server/routes.go, GenerateHandler). The engine sees the suffix after the prompt."""
    if received.get("raw") and any(received.get(name) for name in ("template", "system", "context")):
        raise Refused(400, "raw mode does not support template, system, or context")
    if received.get("suffix") and "insert" not in model.capabilities:
        raise Refused(400, f"registry.ollama.ai/library/{model.name} does not support insert")
    system = [{"role": "system", "content": received["system"]}] if received.get("system") else []
    user = {"role": "user", "content": received["prompt"] + received.get("suffix", "")}
    images = {"images": received["images"]} if received.get("images") else {}
    return received | {"messages": [*system, user | images]}


def generated(line: dict[str, Any], received: dict[str, Any]) -> dict[str, Any]:
    """A line of a chat as one of generate. The last has the tokens so far, but none for a raw prompt."""
    message = line["message"]
    texts = {"response": message["content"]} | ({"thinking": message["thinking"]} if "thinking" in message else {})
    whole = {key: line[key] for key in line if key != "message"} | texts
    is_answer = line.get("done_reason") in ("stop", "length")
    return whole | ({"context": [1, 2, 3]} if is_answer and not received.get("raw") else {})


async def in_generate(lines: AsyncIterator[dict[str, Any]], received: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        yield line if "error" in line else generated(line, received)


def seconds_of(result: Any) -> float | None:
    """`keep_alive`: a number of seconds, or a Go duration such as `10m` or `1h30m`; below zero: for ever."""
    if result is None or isinstance(result, int | float):
        return FOREVER if result is not None and result < 0 else result
    if result == "0":
        return 0.0
    if not re.fullmatch(rf"-?({_PART.pattern})+", result):
        raise Refused(400, f'time: invalid duration "{result}"')
    if result.startswith("-"):
        return FOREVER
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(result))


async def with_fault(lines: AsyncIterator[dict[str, Any]], fault: str | None) -> AsyncIterator[dict[str, Any]]:
    if fault == "slow":
        await asyncio.sleep(60)
    sent = 0
    async for line in lines:
        if sent == 2 and fault in {*_STREAMED, "cut"}:
            if fault != "cut":
                yield {"error": _STREAMED[str(fault)]}
            return
        yield line
        sent += 1
